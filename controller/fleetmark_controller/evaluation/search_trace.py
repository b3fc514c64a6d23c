"""The trace of a find-performance search, as reported by its job, checked before it is stored.

Only the test that was kept has a log. It must agree with the trace, because the result of the
search follows from it. All other values are checked against bounds and normalized.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.loadgen_log import LoadgenLog
from fleetmark_controller.loadgen.mllog import clean_text

FORMAT = 1
UNITS = {
    "Server": "queries_per_s",
    "Offline": "samples_per_s",
    "SingleStream": "ms_per_query",
    "MultiStream": "ms_per_query",
}
MOST_RUNS = 64
_MOST_TEXT = 200
_MOST = 1e12
_NEAR = 1e-4
"""Relative tolerance, because LoadGen prints rates with six digits."""


def read_search(claim: object, scenario: str, log: LoadgenLog) -> dict[str, Any]:
    """Return the trace in `claim` (result.json's `search`), in the form in which it is stored.

    `found` is None if no test was valid. `runs` are the tests in their order; `kept` is the number,
    from 1, of the test whose logs the run has.

    Raises:
        IngestError: it is not a trace, or does not agree with the kept log.
    """
    if not isinstance(claim, Mapping):
        raise IngestError("the job reported no search")
    if claim.get("format") != FORMAT or claim.get("unit") != UNITS.get(scenario):
        raise IngestError("the job's search has another format or scenario")
    claimed_runs = claim.get("runs")
    if not isinstance(claimed_runs, list) or not 0 < len(claimed_runs) <= MOST_RUNS:
        raise IngestError("the job's search has no list of tests")
    runs = [_run(one) for one in claimed_runs]
    place = claim.get("kept")
    if isinstance(place, bool) or not isinstance(place, int) or not 0 < place <= len(runs):
        raise IngestError("the job's search does not name the kept test")
    kept = runs[place - 1]
    found = None if claim.get("found") is None else _number(claim["found"], "found")
    _check_kept(kept, found, scenario, log)
    limit = claim.get("latency_limit_ms")
    return {
        "unit": UNITS[scenario],
        "found": found,
        "latency_limit_ms": None if limit is None else _number(limit, "latency_limit_ms"),
        "kept": place,
        "runs": runs,
    }


def _run(run: object) -> dict[str, Any]:
    if not isinstance(run, Mapping) or not isinstance(run.get("valid"), bool):
        raise IngestError("a test of the job's search is not a table with a verdict")
    names = ("target", "measured", "samples", "percentile_ms", "duration_ms")
    figures = {name: _number(run.get(name), name) for name in names}
    for name in ("samples", "duration_ms"):
        figures[name] = int(figures[name])
    why = clean_text(str(run.get("why", "")))[:_MOST_TEXT]
    return {**figures, "valid": run["valid"], "why": why}


def _check_kept(
    kept: Mapping[str, Any], found: float | None, scenario: str, log: LoadgenLog
) -> None:
    result = log.result
    valid = result is not None and result.validity == "VALID"
    if valid != kept["valid"] or (found is None) == valid:
        raise IngestError("the verdict of the kept log differs from that of the job's search")
    if result is None or found is None:
        return
    if not math.isclose(found, kept["target" if scenario == "Server" else "measured"]):
        raise IngestError("the result of the job's search differs from that of its kept test")
    latency = result.query_latency or result.latency
    shown = {
        "Server": log.settings.target_qps,
        "Offline": result.metric_value,
    }.get(scenario, None if latency.mean_ns is None else latency.mean_ns / 1e6)
    if shown is None or not math.isclose(found, shown, rel_tol=_NEAR):
        raise IngestError(f"the job's search found {found:g}, but the kept log shows {shown}")


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MOST:
        raise IngestError(f"{name} of the job's search is not a valid number")
    return float(value)
