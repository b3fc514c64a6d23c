"""Runs that had no time for as many queries as a measurement needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetmark_controller.evaluation.claimed_values import number
from fleetmark_controller.evaluation.records import MAX_INTEGER
from fleetmark_controller.loadgen.loadgen_log import TOO_FEW_QUERIES, LoadgenResult

_ALLOWED = {"VALID": (), "INVALID": (TOO_FEW_QUERIES,)}
"""LoadGen's failed checks in an estimate, by its verdict."""


def estimate_reason(result: LoadgenResult, scenario: str, claim: Mapping[str, Any]) -> str | None:
    """Return why a performance run is only an estimate; None for a measurement.

    The job reports how many queries it planned and how many a measurement needs. The log must show
    that it kept to its plan, and that nothing else was wrong with the run.

    Args:
        result: LoadGen's results.
        scenario: the scenario.
        claim: the job's result.json.
    """
    planned = number(claim.get("planned_count"), MAX_INTEGER)
    needed = number(claim.get("needed_count"), MAX_INTEGER)
    if planned is None or needed is None:
        return None
    is_offline = scenario == "Offline"
    count = result.sample_count if is_offline else result.query_count
    if not planned <= count < needed or result.failed_checks != _ALLOWED.get(result.validity):
        return None
    unit = "samples" if is_offline else "queries"
    return f"only {count} {unit} fit into the time limit; a measurement needs {int(needed)}"
