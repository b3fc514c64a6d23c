"""Failure policy: decide which failures count towards the quarantine of a device. Pure.

The causes and their table are in `fleetmark_core.failure_cause`. A failure counts like this:

| Cause | Counts towards quarantine |
|---|---|
| device | yes |
| crash, uncertain | if the same configuration with the same lockfile has a result already |
| job, controller | no |
| any but controller, of a health check | yes |

A model that never worked thus cannot quarantine a device, however often it crashes. A device whose
memory or storage fails is still noticed: there, what worked before, on any device, fails. The
health check runs a benchmark that is known to work, so that its failure is one of the device.
"""

from __future__ import annotations

from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_core.failure_cause import FailureCause, cause_of_exit, parse_cause
from fleetmark_core.memory_failure import MemoryFailure, parse_memory_failure

NEEDS_EVIDENCE = frozenset({FailureCause.CRASH, FailureCause.UNCERTAIN})
"""Causes that count only if the configuration is known to work."""


def counts_towards_quarantine(
    cause: FailureCause, *, known_to_work: bool, health_check: bool
) -> bool:
    """Return whether a failed attempt counts towards the quarantine of its device.

    Args:
        cause: cause of the failure.
        known_to_work: whether the same configuration with the same lockfile has an official run.
        health_check: whether the job is a health check.
    """
    if health_check:
        return cause is not FailureCause.CONTROLLER
    return cause is FailureCause.DEVICE or (cause in NEEDS_EVIDENCE and known_to_work)


def unreported_cause(ending: AttemptOutcome, retryable: bool) -> FailureCause:
    """Return the cause of an attempt that an older agent refused or aborted: it reports none."""
    if ending is AttemptOutcome.REFUSED and not retryable:
        return FailureCause.UNCERTAIN
    return FailureCause.DEVICE


def cause_of_final(
    outcome: str, exit_code: int | None, retryable: bool, reported: object
) -> FailureCause:
    """Return the cause of a failure from its final record.

    Args:
        outcome: `failed`, `timeout` or `stopped`.
        exit_code: exit code of the job; None if it has none.
        retryable: whether the agent considers another attempt useful.
        reported: `failure` in the record's provenance. Older agents send none, and do not tell a
            signal from a killed supervisor: both are uncertain.
    """
    known = parse_cause(reported.get("cause")) if isinstance(reported, dict) else None
    if known is not None:
        return known
    if outcome == "failed" and exit_code is None:
        return FailureCause.UNCERTAIN if retryable else FailureCause.JOB
    return cause_of_exit(outcome, exit_code)


def out_of_memory(reported: object) -> MemoryFailure | None:
    """Return the figures of a job that ran out of memory; None if it did not.

    Args:
        reported: `failure` in the record's provenance.
    """
    return parse_memory_failure(reported.get("memory")) if isinstance(reported, dict) else None
