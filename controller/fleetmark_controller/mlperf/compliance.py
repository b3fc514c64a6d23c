"""Comparisons of MLPerf's compliance tests, and the texts that report their outcome.

TEST01: answers that the performance run logged at random equal those of the accuracy run, and
logging them costs at most a tenth of the speed. TEST04: issuing the same sample repeatedly is not
faster; if it is, answers are cached. Sources: the README of each test, compliance/ of
mlcommons/inference.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetmark_controller.loadgen.accuracy_log import Answers
from fleetmark_controller.mlperf.rules import QUICK_NS, QUICK_TOLERANCE, TEST_TOLERANCE

PASS = "TEST PASS"  # noqa: S105
FAIL = "TEST FAIL"
LATENCIES = ("SingleStream", "MultiStream")
"""Scenarios whose official figure is a latency: lower is better."""


@dataclass(frozen=True)
class ComplianceResult:
    """Outcome of a comparison: whether it passed, why not, and the lines of its file."""

    passed: bool
    why: str
    text: str


def tolerance(scenario: str, reference: float) -> float:
    """Return the allowed relative difference; `reference` is in ms for latencies."""
    quick_ns = QUICK_NS.get(scenario, 0)
    return QUICK_TOLERANCE if quick_ns and reference * 1e6 <= quick_ns else TEST_TOLERANCE


def same_speed(scenario: str, reference: float, tested: float) -> ComplianceResult:
    """Compare the official figures for TEST01, in ms or samples per second: they must be close."""
    allowed = tolerance(scenario, reference)
    passed = reference * (1 - allowed) <= tested <= reference * (1 + allowed)
    why = "" if passed else _apart(reference, tested, f"may differ by {allowed:.0%}")
    return _verdict(passed, why, _scores(reference, tested))


def not_quicker(scenario: str, reference: float, tested: float) -> ComplianceResult:
    """Compare the figures for TEST04: the test must not be much faster than the result."""
    allowed = tolerance(scenario, reference)
    latency = scenario in LATENCIES
    gain = reference / tested if latency else tested / reference
    passed = gain < 1 + allowed
    why = "" if passed else _apart(reference, tested, f"may be quicker by {allowed:.0%} at most")
    return _verdict(passed, why, _scores(reference, tested))


def same_answers(accuracy: Answers, tested: Answers) -> ComplianceResult:
    """Compare answers for TEST01: each logged answer must be that of the accuracy run."""
    known = dict(zip(accuracy.indices.tolist(), accuracy.classes.tolist(), strict=True))
    found = list(zip(tested.indices.tolist(), tested.classes.tolist(), strict=True))
    missing = sum(index not in known for index, _ in found)
    different = sum(known.get(index, answer) != answer for index, answer in found)
    passed = bool(found) and not missing and not different
    why = ""
    if not found:
        why = "it logged no answer"
    elif not passed:
        why = f"{different} of {len(found)} answers are not those of the accuracy run"
        why += f", {missing} are of samples that it did not answer" if missing else ""
    lines = (
        f"num_acc_log_entries = {len(known)}",
        f"num_perf_log_entries = {len(found)}",
        f"num_perf_log_qsl_idx_match = {len(found) - missing}",
        f"num_perf_log_data_mismatch = {different}",
        f"num_missing_qsl_idxs = {missing}",
    )
    return _verdict(passed, why, lines)


def _apart(reference: float, tested: float, allowed: str) -> str:
    return f"its figure is {tested:g}, that of the result {reference:g}: it {allowed}"


def _scores(reference: float, tested: float) -> tuple[str, ...]:
    return (f"Reference score = {reference!r}", f"Test score = {tested!r}")


def _verdict(passed: bool, why: str, lines: tuple[str, ...]) -> ComplianceResult:
    return ComplianceResult(passed, why, "\n".join((*lines, PASS if passed else FAIL)) + "\n")
