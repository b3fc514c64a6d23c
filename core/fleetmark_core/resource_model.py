"""Predicts the memory and disk that a job needs on a device, before anything is sent. Pure.

The prediction follows the job from its start to its results, from the lockfile, the profile and the
parameters. It is an upper bound that is meant to be tight: for all benchmarks of the catalog it is
between 1 and 3 times the measured value (`tests/unit/core/test_resource_model.py`). Unless another
source is named, constants were measured on x86-64 Linux, Python 3.11, as growth of the peak
resident memory (VmHWM) of a job's process, and rounded up.

Memory is the sum of

- Python with NumPy, LoadGen and the harness (`HARNESS_BYTES`);
- the runtime with an open model of size zero: `memory_bytes` of its package component;
- the model: its file, read, parsed and packed for the CPU (`MODEL_COPIES`), and for each sample of
  a batch the tensors between its layers: `arena_bytes` of the model component (only once if it sets
  `fixed_batch`), or else `arena_guess`, and at least what its `footprint` leaves unexplained. A
  batch is filled up to whole calls of `input.batch` samples (`fleetmark_core.model_memory`);
- the data set as stored, and samples as the model takes them: those of the calibration or, if more,
  those of the performance set with the copies that preparation makes; and the copies of a batch;
- LoadGen's queries, which it creates before the run. In SingleStream there are
  `2 × duration ÷ (LATENCY_MARGIN × latency)`, at least the profile's minimum, of `QUERY_BYTES`.
  In Offline there are `RATE_MARGIN × duration ÷ latency` samples, at least the profile's minimum,
  of `OFFLINE_SAMPLE_BYTES`. MultiStream is like SingleStream with queries of 8 samples. In Server
  there are `SERVER_FACTOR × duration × rate`. In accuracy mode there is one per sample of the data
  set;
- the duration of each sample that the harness records, and the copies when they are written.

The latency is that of earlier runs of the same model on the device, times `FAST_END_SHARE`.
Without earlier runs it is `least_latency_ns`, which only the smallest networks on fast servers
undercut.

Disk is the sum of the blobs, the environment that is unpacked from the wheels (`UNPACKED_FACTOR`),
the archives at their declared unpacked size (`unpacked_bytes`), and the job's output (logs and
samples) with a second copy on the way to the controller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from fleetmark_core.capabilities import Capabilities
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.model_memory import (
    HARNESS_BYTES,
    MB,
    data_bytes,
    input_bytes,
    is_declared,
    model_bytes,
    runtime_bytes,
    table,
    whole,
)
from fleetmark_core.modes import FIND

PYTHON_BYTES = 12 * MB
"""A program without LoadGen: bare Python takes 9 MB."""
QUERY_BYTES = 370
"""LoadGen 6.0.17, SingleStream: 2 million queries and the list of their latencies take 682 MB."""
MULTISTREAM_SAMPLES = 8
"""Samples per query in MultiStream, as MLPerf's rules require."""
FURTHER_SAMPLE_BYTES = 130
"""Each sample of a query after the first."""
SERVER_SHARE = 0.5
"""Equals `_SERVER_SHARE` of fleetmark_harness.settings."""
SERVER_FACTOR = 2.0
"""LoadGen creates queries for twice the duration."""
FIND_LONGEST_NS, FIND_SHARE = 10_000_000_000, 1.1
"""Equal `LONGEST_MS` and `_ABOVE` of fleetmark_harness.find_performance: the longest test of a
search, and its highest rate relative to the calibrated one."""
OFFLINE_SAMPLE_BYTES = 220
"""LoadGen's own sample, Python's view of it while the query is handed over, ids and indices."""
SAMPLE_BYTES = 40
"""Durations in the harness: an array that may double (8 + 16), and two copies when written (16)."""
LATENCY_MARGIN = 1.4
"""Equals `_LATENCY_MARGIN` of fleetmark_harness.settings."""
RATE_MARGIN = 1.1 * 1.1
"""`_RATE_MARGIN` of fleetmark_harness.settings, times the tenth that LoadGen adds."""
FAST_END_SHARE = 0.75
"""The calibration takes the 5 % quantile of its latencies, which is rarely below this share of the
median."""
LEAST_LATENCY_NS = 20_000
"""Three of the catalog's models are faster on a fast server. Python's call path alone takes 8 µs.
"""
WEIGHTS_PER_NS = 40
"""Maximum bytes of weights that one core reads from its caches per nanosecond."""
UNPACKED_FACTOR = 4.5
"""Size of an environment, including compiled modules, relative to its wheels: a typical maximum."""
COMPILED_FACTOR = 1.6
"""A provided Python is compiled on the device, which adds a second copy of its library."""
LOG_BYTES = 1 * MB
"""LoadGen's logs without answers, result.json, telemetry, and the usual output of a program."""
ANSWER_BYTES = 110
"""One answer in LoadGen's accuracy log."""
COPIES_ON_DISK = 2
"""A job's output is in its workspace and, until it is acknowledged, also in the spool."""

AGENT_BYTES = 96 * MB
"""Memory reserved for other processes: agent 61 MB, supervisor 12, telemetry 15, and a margin."""
HELPERS_BYTES = 32 * MB
"""Part of the free memory reserved while the agent runs: supervisor and telemetry."""
FREE_DISK_BYTES = 64 * 1024 * 1024
"""Disk space kept free on a device: the default of the agent's `min_free_bytes`."""


class MemorySource(Enum):
    """The source of a memory prediction; the values are stored and shown."""

    MEASURED = "measured"
    """Peaks of earlier runs of the same lockfile on like devices."""
    DECLARED = "declared"
    """The model's component declares the memory of a call: `arena_bytes` or `footprint`."""
    ESTIMATED = "estimated"
    """The sizes of files and tensors alone."""


@dataclass(frozen=True)
class ResourceNeeds:
    """The resources that a job needs besides its bundle.

    `queries` is the number of queries that LoadGen creates before the run. It follows from
    `latency_ns`. `latency_measured` is whether that latency was measured on the device.
    `loadgen_bytes` is the part of the memory that queries and recorded durations take.
    """

    memory_bytes: int
    environment_bytes: int
    output_bytes: int
    queries: int = 0
    latency_ns: int = 0
    latency_measured: bool = False
    loadgen_bytes: int = 0
    memory_source: MemorySource = MemorySource.ESTIMATED


@dataclass(frozen=True)
class Run:
    """The part of an order that decides how a lockfile is run."""

    scenario: str
    mode: str
    profile: str
    parameters: Mapping[str, Any]


def predict(lock: Lockfile, run: Run, latency_ns: int = 0) -> ResourceNeeds:
    """Return what `run` of `lock` needs.

    Args:
        lock: the lockfile.
        run: scenario, mode, profile and parameters.
        latency_ns: the shortest latency per sample to which a run of this model and runtime was
            calibrated on the device in the same scenario; 0 if there was none.
    """
    tables = lock.job
    model, dataset = table(tables, "model"), table(tables, "dataset")
    total = whole(dataset.get("samples"))
    loaded = min(total, whole(dataset.get("performance_samples")) or total)
    batch = batch_size(lock, run)
    measured = latency_ns > 0
    pace_ns = int(latency_ns * FAST_END_SHARE) if measured else least_latency_ns(lock)
    queries, samples = _queries(tables, run, pace_ns, total)
    if "loadgen" in tables:
        own, created = HARNESS_BYTES, queries * _query_bytes(run) + samples * SAMPLE_BYTES
    else:
        own, created, queries, samples = PYTHON_BYTES, 0, 0, 0
    memory = (
        own
        + created
        + runtime_bytes(tables)
        + model_bytes(lock, batch)
        + data_bytes(lock, total, loaded, batch)
    )
    wheels = sum(wheel.size_bytes for wheel in lock.environment.wheels)
    provided = lock.environment.provided
    python = 0 if provided is None else int(provided.unpacked_bytes * COMPILED_FACTOR)
    unpacked = {a.archive.sha256: a.unpacked_bytes for a in lock.environment.archives}
    answers = total * ANSWER_BYTES if run.mode == "accuracy" else samples * 8
    return ResourceNeeds(
        memory_bytes=memory,
        environment_bytes=int(wheels * UNPACKED_FACTOR) + python + sum(unpacked.values()),
        output_bytes=COPIES_ON_DISK * (LOG_BYTES + answers),
        queries=queries,
        latency_ns=pace_ns if queries else 0,
        latency_measured=measured,
        loadgen_bytes=created,
        memory_source=MemorySource.DECLARED if is_declared(model) else MemorySource.ESTIMATED,
    )


def batch_size(lock: Lockfile, run: Run) -> int:
    """Return how many samples the model gets per call."""
    if run.scenario != "Offline":
        return MULTISTREAM_SAMPLES if run.scenario == "MultiStream" else 1
    defaults = table(lock.job, "defaults")
    return max(1, whole(run.parameters.get("batch_size", defaults.get("batch_size"))))


def least_latency_ns(lock: Lockfile) -> int:
    """Return a lower bound of the model's latency per inference: every weight is read once."""
    return max(LEAST_LATENCY_NS, input_bytes(lock, "model") // WEIGHTS_PER_NS)


def memory_shortage(needs: ResourceNeeds, available_bytes: int) -> str:
    """Return why the memory does not suffice, with both values, or an empty string if it does."""
    if needs.memory_bytes <= available_bytes:
        return ""
    return (
        f"it needs {size(needs.memory_bytes)} of memory{_because(needs)}, "
        f"{size(available_bytes)} available"
    )


def disk_shortage(needs: ResourceNeeds, bundle_bytes: int, available_bytes: int) -> str:
    """Return why the disk does not suffice, with both values, or an empty string if it does."""
    needed = disk_bytes(needs, bundle_bytes)
    if needed <= available_bytes:
        return ""
    return f"it needs {size(needed)} of disk, {size(available_bytes)} available"


def disk_bytes(needs: ResourceNeeds, bundle_bytes: int) -> int:
    """Return the disk space that a job needs on a device that has none of its blobs yet."""
    return bundle_bytes + needs.environment_bytes + needs.output_bytes


def shortages(needs: ResourceNeeds, bundle_bytes: int, board: Capabilities) -> list[str]:
    """Return why a job does not fit a device, or an empty list if it fits.

    Space that the agent's cache uses counts as free: the job reuses cached content, or the agent
    evicts it.
    """
    limit = board.memory.limit_bytes
    usable = board.memory.total_bytes if limit is None else min(limit, board.memory.total_bytes)
    memory = max(0, usable - AGENT_BYTES)
    disk = max(0, board.storage.free_bytes + board.storage.cache_bytes - FREE_DISK_BYTES)
    found = (memory_shortage(needs, memory), disk_shortage(needs, bundle_bytes, disk))
    return [reason for reason in found if reason]


def size(count_bytes: float) -> str:
    """Return a byte count in a suitable unit: `53.1 MB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count_bytes < 1000:
            return f"{count_bytes:.0f} bytes" if unit == "bytes" else f"{count_bytes:.1f} {unit}"
        count_bytes /= 1000
    return f"{count_bytes:.1f} TB"


def _because(needs: ResourceNeeds) -> str:
    queries = needs.queries * QUERY_BYTES
    if queries * 2 < needs.memory_bytes:
        known = needs.memory_source is MemorySource.MEASURED
        return " (known from earlier runs on like devices)" if known else ""
    how = "measured" if needs.latency_measured else "assumed"
    hint = "" if needs.latency_measured else "; a run with --profile quick measures it"
    return (
        f" (LoadGen makes {needs.queries:,} queries beforehand, at {how} "
        f"{needs.latency_ns / 1e6:.3g} ms each{hint})"
    )


def _queries(tables: Mapping[str, Any], run: Run, pace_ns: int, total: int) -> tuple[int, int]:
    """Return upper bounds of created queries (in Offline: samples) and of answered samples."""
    if run.mode == "accuracy":
        return total, total
    profile = table(table(table(tables, "benchmark"), "profiles"), run.profile)
    settings = table(profile, run.scenario)
    override = run.parameters.get("min_duration_s")
    duration_ns = whole(settings.get("min_duration_ms")) * 1_000_000
    if isinstance(override, (int, float)):
        duration_ns = int(override * 1e9)
    if run.mode == FIND:
        duration_ns = min(duration_ns, FIND_LONGEST_NS)
    rounds = duration_ns / max(1, pace_ns)
    least = whole(settings.get("min_query_count"))
    target = _positive(run.parameters.get("target_qps"))
    if run.scenario == "Server":
        # A search tries rates up to the device's limit.
        share = FIND_SHARE if run.mode == FIND else SERVER_SHARE
        rate = target if target and run.mode != FIND else share * 1e9 / max(1, pace_ns)
        count = max(int(SERVER_FACTOR * rate * duration_ns / 1e9), least)
        return count, count
    expected_ns = _positive(run.parameters.get("target_latency_ms")) * 1e6
    if run.scenario == "MultiStream":
        queries = duration_ns / expected_ns if expected_ns else 0.0
        queries = queries or rounds / LATENCY_MARGIN / MULTISTREAM_SAMPLES
        return max(int(2 * queries), least), max(int(rounds), least * MULTISTREAM_SAMPLES)
    if run.scenario == "Offline":
        rounds = target * duration_ns / 1e9 if target else rounds
        count = max(int(rounds * RATE_MARGIN), whole(settings.get("min_sample_count")), 1)
        return count, count
    queries = duration_ns / expected_ns if expected_ns else rounds / LATENCY_MARGIN
    return max(int(2 * queries), least), max(int(rounds), least)


def _query_bytes(run: Run) -> int:
    if run.scenario == "MultiStream" and run.mode != "accuracy":
        return QUERY_BYTES + (MULTISTREAM_SAMPLES - 1) * FURTHER_SAMPLE_BYTES
    return OFFLINE_SAMPLE_BYTES if run.scenario == "Offline" else QUERY_BYTES


def _positive(value: object) -> float:
    """Return `value` as a float if it is a number above 0, otherwise 0."""
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    return float(value) if usable else 0.0  # type: ignore[arg-type]
