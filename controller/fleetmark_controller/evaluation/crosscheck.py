"""The rounds of a cross-check, as reported by its job, checked before they are stored.

Only the last block under LoadGen has a log, which must agree with the figures of its round. All
other values are checked against bounds and normalized.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from fleetmark_controller.loadgen.errors import IngestError, excerpt
from fleetmark_controller.loadgen.limits import MAX_LATENCY_NS
from fleetmark_controller.loadgen.loadgen_log import LoadgenLog
from fleetmark_controller.loadgen.mllog import clean_text

FORMAT = 1
MOST_ROUNDS = 64
FIGURES = (
    *("loop_p50_ns", "loop_mean_ns", "answer_ns", "harness_ns", "loadgen_ns", "official_ns"),
)
"""Figures of each round, in nanoseconds per query (in Offline per sample)."""
SERVER = "Server"
SERVER_FIGURES = (
    *("loop_p50_ns", "loop_mean_ns", "answer_ns", "service_p50_ns", "service_p99_ns"),
    *("service_mean_ns", "harness_p99_ns", "loadgen_ns", "official_ns"),
)
"""Figures of each round in Server, in nanoseconds per query."""
NATIVE = "native_ns"
OFFICIAL_PERCENTILES = {"SingleStream": "90.00", "MultiStream": "99.00", SERVER: "99.00"}
"""Percentile of `official_ns`. In Server it is that of the latency limit."""
_NEVER_SMALLER = ("service_p50_ns", "service_p99_ns", "harness_p99_ns", "official_ns")
"""Figures of Server in their only possible order: each is a part of the time of the next."""
STATISTICS = ("p50", "mean")
_MOST_TEXT = 300
_MOST_MS, _MOST_BATCH = 3_600_000, 100_000
_NEAR = 1e-4
"""Relative tolerance, because LoadGen prints rates with six digits."""
_CLOCKS = 0.01
"""Relative tolerance between LoadGen's clock and that of the harness."""


def read_crosscheck(claim: object, scenario: str, log: LoadgenLog) -> dict[str, Any]:
    """Return the rounds in `claim` (result.json's `crosscheck`), in the form that is stored.

    The result has `scenario`, `block_ms`, `batch_size`, `rounds` with `FIGURES`, in Server with
    `SERVER_FIGURES` (and `NATIVE`, if the device has a tool), `native` with `tool`, `version` and
    `statistic`, or None and then `native_unavailable`. In Server it also has `target_qps`, the rate
    of arrival in the log, in queries per second.

    Raises:
        IngestError: it is not a cross-check, or does not agree with the log.
    """
    if not isinstance(claim, Mapping):
        raise IngestError("the job reported no cross-check")
    if claim.get("format") != FORMAT or scenario not in (*OFFICIAL_PERCENTILES, "Offline"):
        raise IngestError("the job's cross-check has another format or scenario")
    native = _native(claim.get("native"))
    claimed = claim.get("rounds")
    if not isinstance(claimed, list) or not 0 < len(claimed) <= MOST_ROUNDS:
        raise IngestError(f"the job's cross-check has no list of 1 to {MOST_ROUNDS} rounds")
    figures = SERVER_FIGURES if scenario == SERVER else FIGURES
    names = figures if native is None else (*figures, NATIVE)
    rounds = [_round(one, names) for one in claimed]
    arrival: dict[str, Any] = {}
    if scenario == SERVER:
        arrival["target_qps"] = log.settings.target_qps
        if log.settings.target_qps is None:
            raise IngestError("the log of the job's cross-check has no rate of arrival")
        for one in rounds:
            _check_order(one)
    _check_last(rounds[-1], scenario, log)
    why = claim.get("native_unavailable")
    reason = clean_text(why)[:_MOST_TEXT] if isinstance(why, str) else ""
    return {
        "scenario": scenario,
        "block_ms": _whole(claim.get("block_ms"), "block_ms", _MOST_MS),
        "batch_size": _whole(claim.get("batch_size"), "batch_size", _MOST_BATCH),
        "rounds": rounds,
        **arrival,
        "native": native,
        "native_unavailable": None
        if native is not None
        else reason or "the job reported no reason",
    }


def _round(one: object, names: tuple[str, ...]) -> dict[str, float]:
    if not isinstance(one, Mapping):
        raise IngestError(f"a round of the job's cross-check is not a table: {excerpt(one)}")
    return {name: _duration(one.get(name), name) for name in names}


def _check_order(one: Mapping[str, float]) -> None:
    """Refuse percentiles of parts that are above those of the whole."""
    for part, whole in itertools.pairwise(_NEVER_SMALLER):
        if one[part] > one[whole] * (1 + _CLOCKS):
            raise IngestError(
                f"{part} of the job's cross-check is {one[part]:g}, more than {whole},"
                f" {one[whole]:g}, of which it is a part"
            )


def _native(claim: object) -> dict[str, Any] | None:
    if claim is None:
        return None
    if not isinstance(claim, Mapping) or claim.get("statistic") not in STATISTICS:
        raise IngestError("the native tool of the job's cross-check has no known statistic")
    name, version = claim.get("name"), claim.get("version")
    tool = clean_text(name)[:_MOST_TEXT] if isinstance(name, str) else ""
    if not tool:
        raise IngestError("the native tool of the job's cross-check has no name")
    return {
        "tool": tool,
        "version": clean_text(version)[:_MOST_TEXT] if isinstance(version, str) else "",
        "statistic": claim["statistic"],
    }


def _check_last(last: Mapping[str, float], scenario: str, log: LoadgenLog) -> None:
    result = log.result
    if result is None:
        raise IngestError("LoadGen did not finish: its log holds no result")
    latency = result.query_latency or result.latency
    if scenario == "Offline":
        rate = result.metric_value
        shown = [1e9 / rate if rate else None] * 2
    else:
        names = ("50.00", OFFICIAL_PERCENTILES[scenario])
        shown = [latency.percentiles[name] for name in names]
    for name, value in zip(("loadgen_ns", "official_ns"), shown, strict=True):
        if value is None or not math.isclose(last[name], value, rel_tol=_NEAR):
            raise IngestError(
                f"{name} of the job's cross-check is {last[name]:g}, but LoadGen's log shows"
                f" {value}"
            )


def _duration(value: object, name: str) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 < value <= MAX_LATENCY_NS
    ):
        raise IngestError(f"{name} of the job's cross-check is no duration: {excerpt(value)}")
    return float(value)


def _whole(value: object, name: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= most:
        raise IngestError(f"{name} of the job's cross-check is not valid: {excerpt(value)}")
    return value
