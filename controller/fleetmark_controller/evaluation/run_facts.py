"""The inputs and the result of an evaluation: picklable values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetmark_controller.evaluation.condition import Reason


@dataclass(frozen=True)
class RunInputs:
    """All inputs of an evaluation.

    Args:
        lock: The lockfile, as plain values (core.lockfile.Lock).
        order: The order, as plain values (core.order.Order).
        final: The final record, as plain values (core.records.Final).
        files: Paths of the attempt's files, by role.
        telemetry: Names of the columns, and rows.
        labels_path: The data set with its labels, for accuracy.
        received_unix_ns: When the controller received the result, by its own clock.
        is_sustained: Whether the job asked for a sustained run, whose steady state is wanted.
    """

    lock: Mapping[str, Any]
    order: Mapping[str, Any]
    final: Mapping[str, Any]
    files: Mapping[str, str | Path]
    telemetry: tuple[Sequence[str], Sequence[Sequence[Any]]] = ((), ())
    labels_path: str | Path | None = None
    received_unix_ns: int | None = None
    is_sustained: bool = False


@dataclass
class RunFacts:
    """The columns of table `run` that follow from the logs; None: not measured in this mode.

    `loadgen_validity` is LoadGen's verdict, but also INVALID if the files do not prove a valid run:
    `problems` then says why, in texts for operators. It is None for an accuracy run or a
    cross-check without problems. `loadgen_reasons` are LoadGen's own reasons for its INVALID.
    `estimate_reason` says why the figures are only an estimate. For `condition` and
    `condition_reasons` see module `condition`. `samples` is the encoded blob. `search_trace` is the
    result of mode find-performance; see module `search_trace`. `operators` is the per-operator
    profile, or why it is unavailable; see module `operator_profile`. `energy_by_source` has the
    joules that each sensor of the device measured. `sustained` is the series of a sustained run as
    a document, whose steady state has the figures `steady_…`. `crosscheck` has the rounds of a
    cross-check, which has no other figures; see module `crosscheck`.
    """

    started_at: str | None = None
    duration_s: float | None = None
    query_count: int | None = None
    sample_count: int | None = None
    metric_name: str | None = None
    metric_value: float | None = None
    latency_mean_ms: float | None = None
    latency_p50_ms: float | None = None
    latency_p90_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    latency_p999_ms: float | None = None
    throughput_samples_per_s: float | None = None
    accuracy: float | None = None
    accuracy_metric: str | None = None
    interval_percent: float | None = None
    energy_j: float | None = None
    energy_per_query_j: float | None = None
    energy_per_sample_j: float | None = None
    power_mean_w: float | None = None
    energy_source: str | None = None
    energy_unavailable: str | None = None
    energy_official: bool = False
    load_ms: float | None = None
    first_inference_ms: float | None = None
    warmup_ms: float | None = None
    steady_state_ms: float | None = None
    load_memory_bytes: int | None = None
    peak_memory_bytes: int | None = None
    temperature_start_c: float | None = None
    temperature_max_c: float | None = None
    loadgen_validity: str | None = None
    estimate_reason: str | None = None
    condition: str | None = None
    condition_reasons: list[Reason] = field(default_factory=list)
    submittable: bool = False
    loadgen_version: str | None = None
    search_trace: dict[str, Any] | None = None
    operators: dict[str, Any] | None = None
    steady_start_s: float | None = None
    steady_throughput_samples_per_s: float | None = None
    steady_latency_mean_ms: float | None = None
    samples: bytes | None = None
    sustained: dict[str, Any] | None = None
    crosscheck: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)
    loadgen_reasons: list[str] = field(default_factory=list)
    energy_by_source: dict[str, float] = field(default_factory=dict)
