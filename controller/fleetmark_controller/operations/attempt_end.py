"""The end of an attempt, and its effect on the job."""

from __future__ import annotations

import sqlite3

from fleetmark_controller.lifecycle.failure_policy import (
    NEEDS_EVIDENCE,
    counts_towards_quarantine,
)
from fleetmark_controller.lifecycle.retry_policy import (
    FINISHED,
    NO_OTHER_MEMORY,
    AttemptOutcome,
    JobFacts,
    JobTransition,
    after_attempt,
    after_crash,
)
from fleetmark_controller.lifecycle.states import (
    ATTEMPT_TERMINAL,
    JOB_TERMINAL,
    AttemptState,
    JobState,
)
from fleetmark_controller.operations.effects import AttemptEnd, Effects
from fleetmark_controller.store.devices import device_admin
from fleetmark_controller.store.jobs import attempts, campaigns, job_options, jobs
from fleetmark_controller.store.results import runs
from fleetmark_core.failure_cause import FailureCause

_STATE = {
    AttemptOutcome.VALID: AttemptState.DONE,
    AttemptOutcome.INVALID: AttemptState.DONE,
    AttemptOutcome.ESTIMATE: AttemptState.DONE,
    AttemptOutcome.FAILED: AttemptState.ABORTED,
    AttemptOutcome.REFUSED: AttemptState.REFUSED,
    AttemptOutcome.ABORTED: AttemptState.ABORTED,
    AttemptOutcome.LOST: AttemptState.LOST,
    AttemptOutcome.GONE: AttemptState.LOST,
}
_REFUSABLE = (AttemptState.OFFERED, AttemptState.PREPARING)


def end_attempt(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    attempt: attempts.Attempt,
    ending: AttemptOutcome,
    reason: str,
    retryable: bool = False,
    cause: FailureCause = FailureCause.DEVICE,
    out_of_memory: bool = False,
) -> JobTransition:
    """Move an attempt to its final state, and update its job.

    `cause` is what is at fault if the attempt has no run; contact with the device was lost unless
    the caller knows better. `out_of_memory` is whether the job failed for that reason.

    An attempt that is already terminal (a lost one whose result arrives) keeps its state, but its
    job may still change.

    Returns:
        The decision of the retry policy, for the caller that stores a run.
    """
    state = _STATE[ending]
    if state is AttemptState.REFUSED and attempt.state not in _REFUSABLE:
        state = AttemptState.ABORTED
    if attempt.state not in ATTEMPT_TERMINAL:
        attempts.transition(connection, now_ns, attempt, state, reason)
    job = jobs.get(connection, attempt.key.job_id)
    if job is None:
        raise RuntimeError(f"attempt {attempt.key} without a job")
    newest = job.newest_epoch == attempt.key.epoch
    failed = ending not in FINISHED
    if failed:
        attempts.set_failure_cause(connection, attempt.key, cause)
    # Before the device is excluded from the job: its option names the lockfile.
    _update_device(connection, job, attempt, failed, reason, cause)
    if ending is AttemptOutcome.REFUSED and newest and not retryable:
        # Another device may be able to run what this one cannot (for example, its disk is full).
        retryable = job_options.exclude_device(connection, job.job_id, attempt.key.device_id)
    if cause is FailureCause.CRASH and failed and newest and job.state not in JOB_TERMINAL:
        retryable, reason = _after_crash(connection, job, attempt.key.device_id, reason)
    if out_of_memory and newest and job.state not in JOB_TERMINAL:
        # With the same limit it would fail again. Another device may have more memory.
        retryable = job_options.exclude_device(connection, job.job_id, attempt.key.device_id)
        reason = reason if retryable else f"{reason} (not retried: {NO_OTHER_MEMORY})"
    facts = JobFacts(job.state, job.attempts, job.max_attempts, newest)
    verdict = after_attempt(facts, ending, reason, retryable)
    if verdict.state is not None:
        jobs.transition(connection, now_ns, job, verdict.state, verdict.reason)
    effects.ended.append(AttemptEnd(attempt.key, job.campaign_id, ending, reason))
    effects.jobs.add(job.job_id)
    effects.schedule = True
    return verdict


def _after_crash(
    connection: sqlite3.Connection, job: jobs.Job, device_id: str, reason: str
) -> tuple[bool, str]:
    """Exclude the device from the job; return whether the job is retried, and its reason."""
    crashes = attempts.count_by_cause(connection, job.job_id, FailureCause.CRASH)
    excluded = job_options.exclude_device(connection, job.job_id, device_id)
    why_not = after_crash(crashes, excluded)
    return not why_not, f"{reason} ({why_not})" if why_not else reason


def _update_device(
    connection: sqlite3.Connection,
    job: jobs.Job,
    attempt: attempts.Attempt,
    failed: bool,
    reason: str,
    cause: FailureCause,
) -> None:
    """Update the count of consecutive failures of the device."""
    device_id = attempt.key.device_id
    if not failed:
        device_admin.record_success(connection, device_id)
        return
    if (
        job.state is JobState.CANCELLING
        or job.state in JOB_TERMINAL
        or attempt.state in ATTEMPT_TERMINAL
    ):
        # A job that an operator or its deadline stopped says nothing about the device. An attempt
        # that had already ended (lost, and the device is back without it) was counted then.
        return
    if counts_towards_quarantine(
        cause,
        known_to_work=cause in NEEDS_EVIDENCE
        and runs.has_official_like(connection, job.job_id, device_id),
        health_check=campaigns.is_health_check(connection, job.campaign_id),
    ):
        device_admin.record_failure(connection, device_id, job.job_id, reason)
