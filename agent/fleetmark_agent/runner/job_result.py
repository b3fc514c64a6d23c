"""The result of a job, from its supervisor's outcome and its output. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fleetmark_core.failure_cause import (
    CRASH_SIGNALS,
    FailureCause,
    cause_of_exit,
    signal_name,
)
from fleetmark_core.memory_failure import MemoryFailure
from fleetmark_core.resource_model import size

_EXIT_TEXTS = {
    10: "the job file is not valid",
    11: "an input is not valid",
    12: "the runtime cannot be loaded",
    13: "LoadGen failed",
    14: "out of memory",
    15: "no space left",
    127: "it could not be started",
}
_WORTH_ANOTHER_TRY = (1,)


@dataclass(frozen=True)
class JobResult:
    """The result of the job."""

    outcome: str
    reason: str
    exit_code: int | None
    retryable: bool
    started_unix_ns: int
    duration_ns: int
    cause: FailureCause | None = None
    """Cause of a failure; None if the job completed."""
    signal_number: int | None = None
    memory: MemoryFailure | None = None
    """Figures of a job that ran out of memory; None if it did not."""


def evaluate_exit(
    outcome: dict[str, Any] | None,
    missing: list[str],
    timeout_s: float,
    reported: str,
    out_of_memory: MemoryFailure | None = None,
) -> JobResult:
    """Return the result of the job.

    Args:
        outcome: the supervisor's outcome; None if the supervisor was killed before it wrote one.
        missing: names of required outputs that do not exist.
        timeout_s: the time limit of the order.
        reported: the error that the job wrote to stderr, see `error_text`.
        out_of_memory: the figures if the job ran out of memory, see `memory_failure`.
    """
    if outcome is None:
        reason = "the job's supervisor was killed before it could say what became of the job"
        return JobResult("failed", reason, None, True, 0, 0, cause_of_exit(None))
    code: int | None = outcome["exit_code"]
    number: int = outcome.get("signal") or 0
    started, duration = int(outcome["started_unix_ns"]), int(outcome["duration_ns"])

    def result(kind: str, reason: str, retryable: bool) -> JobResult:
        cause = None if kind == "completed" else cause_of_exit(outcome["outcome"], code, number)
        return JobResult(kind, reason, code, retryable, started, duration, cause, number or None)

    if out_of_memory is not None:
        # With the same limit it happens again. The controller may know a larger device.
        how = _how_it_ended(outcome, number, code)
        reason = f"{out_of_memory.text()} ({how}{_quoted(reported)})"
        found = JobResult("failed", reason, code, False, started, duration, FailureCause.JOB)
        return replace(found, signal_number=number or None, memory=out_of_memory)

    if outcome["outcome"] == "timeout":
        return result("timeout", f"not done after its time limit of {timeout_s:g} s", False)
    if outcome["outcome"] == "stopped":
        return result("stopped", "its supervisor was asked to end it", True)
    if outcome["outcome"] == "limit":
        return result("failed", _passed(outcome["passed"]), False)
    if outcome["outcome"] == "signaled":
        # A program that crashed will crash again with the same input on the same device.
        reason = f"{_how_it_ended(outcome, number, code)}{_quoted(reported)}"
        return result("failed", reason, number not in CRASH_SIGNALS)
    if code:
        meaning = f" ({_EXIT_TEXTS[code]})" if code in _EXIT_TEXTS else ""
        reason = f"{_how_it_ended(outcome, number, code)}{meaning}{_quoted(reported)}"
        return result("failed", reason, code in _WORTH_ANOTHER_TRY)
    if missing:
        names = ", ".join(missing)
        what = "a declared output is" if len(missing) == 1 else "declared outputs are"
        return result("failed", f"{what} missing: {names}", False)
    return result("completed", "", False)


def _how_it_ended(outcome: dict[str, Any], number: int, code: int | None) -> str:
    if outcome["outcome"] == "limit":
        return "ended by its sandbox"
    if outcome["outcome"] == "signaled":
        verb = "crashed with" if number in CRASH_SIGNALS else "killed by"
        return f"{verb} {signal_name(number)}"
    return f"the program ended with exit code {code}"


def _passed(passed: dict[str, int]) -> str:
    """Return the reason that names the exceeded sandbox limit, with usage and limit."""
    name = next(iter(passed))
    used, limit = passed[name], passed[f"{name}_limit"]
    if name == "processes":
        return f"ended by its sandbox: {used} processes and threads of {limit} that it may have"
    what = {"memory_bytes": "memory", "scratch_bytes": "disk"}[name]
    return f"ended by its sandbox: {size(used)} of {what}, it may use {size(limit)}"


def _quoted(output: str) -> str:
    return f": {output}" if output else ""
