"""What follows for a job when one of its attempts ends: the retry policy, pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fleetmark_controller.lifecycle.states import JOB_TERMINAL, JobState


class Ending(Enum):
    """How an attempt ended."""

    VALID = "valid"  # finished; LoadGen is content, or gives no verdict (accuracy mode)
    INVALID = "invalid"  # finished; LoadGen calls it invalid
    FAILED = "failed"  # the job failed on the board; its records are stored
    REFUSED = "refused"  # the board did not take it
    ABORTED = "aborted"  # the board stopped it
    LOST = "lost"  # no contact within the lease; it may still run
    GONE = "gone"  # the board is back and holds nothing of it


@dataclass(frozen=True)
class JobFacts:
    """What the rules need to know of a job."""

    state: JobState
    attempts: int
    max_attempts: int
    newest_epoch: bool
    """Whether the ending attempt is the job's newest."""


@dataclass(frozen=True)
class Verdict:
    """The job's next state (None: unchanged), the reason, and whether the run is official."""

    state: JobState | None
    reason: str
    official: bool = False


def after_attempt(job: JobFacts, ending: Ending, reason: str, retryable: bool) -> Verdict:
    """What an attempt's end does to its job.

    Only the newest attempt decides. A finished one is official if the job is not yet terminal and
    nobody asked to cancel it. A lost one sends the job back to the queue even when no try is left:
    the board may yet bring the result; the deadline bounds the wait.
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
        waiting = reason if left else f"{reason}; no try is left, waiting for its result"
        return Verdict(_queued(job.state), waiting)
    if ending is Ending.GONE or retryable:
        if left:
            return Verdict(_queued(job.state), reason)
        return Verdict(JobState.FAILED, f"{reason} (attempt {job.attempts} of {job.max_attempts})")
    return Verdict(JobState.FAILED, reason)


def _queued(state: JobState) -> JobState | None:
    return None if state is JobState.QUEUED else JobState.QUEUED
