"""MLPerf's minimums of a single run. The export checks the other rules of a round. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleetmark_controller.evaluation.run_facts import RunFacts
from fleetmark_controller.loadgen import rules
from fleetmark_controller.loadgen.loadgen_log import LoadgenLog

TESTS = ("TEST01", "TEST04")
"""MLPerf's compliance tests: performance runs with other settings."""
_DAMNING = frozenset(
    (
        *("log_contradiction", "log_damaged", "loadgen_errors", "loadgen_version"),
        *("accuracy_claim", "accuracy_incomplete"),
    )
)
"""Condition reasons with which no run is submittable."""


def meets_minimums(
    facts: RunFacts, log: LoadgenLog, order: Mapping[str, Any], loadgen: Mapping[str, Any]
) -> bool:
    """Return whether the run alone meets MLPerf's minimums.

    Args:
        facts: the facts of the run, complete but for this one.
        log: LoadGen's detail log.
        order: the order, as plain values.
        loadgen: the lockfile's table of LoadGen.
    """
    codes = {found["code"] for found in facts.condition_reasons}
    if order.get("profile") != "valid" or facts.problems or codes & _DAMNING:
        return False
    round_name = loadgen.get("round")
    seeds = rules.ROUND_SEEDS.get(round_name) if isinstance(round_name, str) else None
    if seeds is None or seeds != log.settings.seeds:
        return False
    if order.get("mode") == "accuracy":
        return facts.accuracy is not None
    if order.get("mode") not in ("performance", *TESTS) or log.result is None:
        return False
    return (
        facts.loadgen_validity == "VALID"
        and facts.estimate_reason is None
        and facts.metric_value is not None
        and log.settings.min_duration_ms >= rules.MIN_DURATION_MS
        and (log.duration_s or 0) * 1000 >= rules.MIN_DURATION_MS
        and (
            order.get("scenario") != "Offline"
            or log.result.sample_count >= rules.OFFLINE_MIN_SAMPLES
        )
    )
