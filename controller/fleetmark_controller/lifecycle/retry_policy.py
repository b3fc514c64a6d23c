"""Retry policy: decide what follows for a job when one of its attempts ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fleetmark_controller.lifecycle.states import JOB_TERMINAL, JobState


class Ending(Enum):
    """The way in which an attempt ended."""

    VALID = "valid"  # finished; LoadGen's verdict is valid, or there is none (accuracy mode)
    INVALID = "invalid"  # finished; LoadGen's verdict is invalid
    FAILED = "failed"  # the job failed on the device; its records are stored
    REFUSED = "refused"  # the device did not accept it
    ABORTED = "aborted"  # the device stopped it
    LOST = "lost"  # no contact within the lease; it may still run
    GONE = "gone"  # the device reconnected and no longer has the attempt


@dataclass(frozen=True)
class JobFacts:
    """The facts of a job that the retry policy needs."""

    state: JobState
    attempts: int
    max_attempts: int
    newest_epoch: bool
    """Whether the attempt that ends is the newest of the job."""


@dataclass(frozen=True)
class Verdict:
    """The next state of a job (None: unchanged), the reason, and whether the run is official."""

    state: JobState | None
    reason: str
    official: bool = False


def after_attempt(job: JobFacts, ending: Ending, reason: str, retryable: bool) -> Verdict:
    """Return the effect of an attempt's end on its job.

    Only the newest attempt decides. A finished attempt is official if the job is not yet terminal
    and not being cancelled. A lost attempt sends the job back to the queue even if no attempts are
    left: the device may still deliver the result, and the deadline bounds the wait.
    """
    if job.state in JOB_TERMINAL or not job.newest_epoch:
        return Verdict(None, reason)
    if job.state is JobState.CANCELLING:
        return Verdict(JobState.CANCELLED, "cancelled")
    if ending is Ending.VALID:
        return Verdict(JobState.SUCCEEDED, "", official=True)
    if ending is Ending.INVALID:
        return Verdict(JobState.INVALID, reason, official=True)
    left = job.attempts < job.max_attempts
    if ending is Ending.LOST:
        waiting = reason if left else f"{reason}; no attempts left, waiting for the result"
        return Verdict(_queued(job.state), waiting)
    if ending is Ending.GONE or retryable:
        if left:
            return Verdict(_queued(job.state), reason)
        return Verdict(JobState.FAILED, f"{reason} (attempt {job.attempts} of {job.max_attempts})")
    return Verdict(JobState.FAILED, reason)


def _queued(state: JobState) -> JobState | None:
    return None if state is JobState.QUEUED else JobState.QUEUED
