"""Retry policy: decide what follows for a job when one of its attempts ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fleetmark_controller.lifecycle.states import JOB_TERMINAL, JobState

NO_OTHER_MEMORY = "it would run out of memory again, and no other device of the job can run it"
MAX_CRASHES = 2
"""Number of devices on which a job may crash before it fails."""


class AttemptOutcome(Enum):
    """The way in which an attempt ended."""

    VALID = "valid"  # finished; LoadGen's verdict is valid, or there is none (accuracy mode)
    INVALID = "invalid"  # finished; LoadGen's verdict is invalid
    ESTIMATE = "estimate"  # finished; too few queries fit into the time limit
    FAILED = "failed"  # the job failed on the device; its records are stored
    REFUSED = "refused"  # the device did not accept it
    ABORTED = "aborted"  # the device stopped it
    LOST = "lost"  # no contact within the lease; it may still run
    GONE = "gone"  # the device reconnected and no longer has the attempt


FINISHED = frozenset({AttemptOutcome.VALID, AttemptOutcome.INVALID, AttemptOutcome.ESTIMATE})
"""Outcomes of attempts that have a run."""


@dataclass(frozen=True)
class JobFacts:
    """The facts of a job that the retry policy needs."""

    state: JobState
    attempts: int
    max_attempts: int
    newest_epoch: bool
    """True if the attempt that ends is the newest of the job."""


@dataclass(frozen=True)
class JobTransition:
    """The next state of a job (None: unchanged), the reason, and whether the run is official."""

    state: JobState | None
    reason: str
    official: bool = False


def after_attempt(
    job: JobFacts, ending: AttemptOutcome, reason: str, retryable: bool
) -> JobTransition:
    """Return the effect of an attempt's end on its job.

    Only the newest attempt decides. A finished attempt is official if the job is not yet terminal
    and not being cancelled. A lost attempt sends the job back to the queue even if no attempts are
    left: the device may still deliver the result, and the deadline bounds the wait.
    """
    if job.state in JOB_TERMINAL or not job.newest_epoch:
        return JobTransition(None, reason)
    if job.state is JobState.CANCELLING:
        return JobTransition(JobState.CANCELLED, "cancelled")
    if ending is AttemptOutcome.VALID:
        return JobTransition(JobState.SUCCEEDED, "", official=True)
    if ending in FINISHED:
        state = JobState.ESTIMATE if ending is AttemptOutcome.ESTIMATE else JobState.INVALID
        return JobTransition(state, reason, official=True)
    left = job.attempts < job.max_attempts
    if ending is AttemptOutcome.LOST:
        waiting = reason if left else f"{reason}; no attempts left, waiting for the result"
        return JobTransition(_queued(job.state), waiting)
    if ending is AttemptOutcome.GONE or retryable:
        if left:
            return JobTransition(_queued(job.state), reason)
        return JobTransition(
            JobState.FAILED, f"{reason} (attempt {job.attempts} of {job.max_attempts})"
        )
    return JobTransition(JobState.FAILED, reason)


def after_crash(crashes: int, has_other_device: bool) -> str:
    """Return why a job that crashed is not retried; empty if one other device may try it.

    The same program with the same model crashes again on the same device, so that device never
    runs the job again.

    Args:
        crashes: number of attempts of the job that crashed, with this one.
        has_other_device: whether the job can run on a device on which it has not crashed.
    """
    if crashes >= MAX_CRASHES:
        return f"not retried: it crashed on {crashes} devices"
    if not has_other_device:
        return "not retried: it would crash again, and no other device of the job can run it"
    return ""


def _queued(state: JobState) -> JobState | None:
    return None if state is JobState.QUEUED else JobState.QUEUED
