"""The end of an attempt, and its effect on the job."""

from __future__ import annotations

import sqlite3

from fleetmark_controller.lifecycle.retry_policy import (
    AttemptOutcome,
    JobFacts,
    JobTransition,
    after_attempt,
)
from fleetmark_controller.lifecycle.states import (
    ATTEMPT_TERMINAL,
    JOB_TERMINAL,
    AttemptState,
    JobState,
)
from fleetmark_controller.operations.effects import AttemptEnd, Effects
from fleetmark_controller.store.devices import device_admin
from fleetmark_controller.store.jobs import attempts, job_options, jobs

_STATE = {
    AttemptOutcome.VALID: AttemptState.DONE,
    AttemptOutcome.INVALID: AttemptState.DONE,
    AttemptOutcome.FAILED: AttemptState.ABORTED,
    AttemptOutcome.REFUSED: AttemptState.REFUSED,
    AttemptOutcome.ABORTED: AttemptState.ABORTED,
    AttemptOutcome.LOST: AttemptState.LOST,
    AttemptOutcome.GONE: AttemptState.LOST,
}


def end_attempt(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    attempt: attempts.Attempt,
    ending: AttemptOutcome,
    reason: str,
    retryable: bool = False,
) -> JobTransition:
    """Move an attempt to its final state, and update its job.

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
    if ending is AttemptOutcome.REFUSED and newest and not retryable:
        # Another device may be able to run what this one cannot (for example, its disk is full).
        retryable = job_options.exclude_device(connection, job.job_id, attempt.key.device_id)
    facts = JobFacts(job.state, job.attempts, job.max_attempts, newest)
    verdict = after_attempt(facts, ending, reason, retryable)
    _take_care(connection, job, attempt, ending, reason)
    if verdict.state is not None:
        jobs.transition(connection, now_ns, job, verdict.state, verdict.reason)
    effects.ended.append(AttemptEnd(attempt.key, job.campaign_id, ending, reason))
    effects.jobs.add(job.job_id)
    effects.schedule = True
    return verdict


def _take_care(
    connection: sqlite3.Connection,
    job: jobs.Job,
    attempt: attempts.Attempt,
    ending: AttemptOutcome,
    reason: str,
) -> None:
    """Update the count of consecutive failures on the device."""
    if ending in (AttemptOutcome.VALID, AttemptOutcome.INVALID):
        device_admin.record_success(connection, attempt.key.device_id)
    elif (
        # A job that an operator or its deadline stopped says nothing about the device. An attempt
        # that had already ended (lost, and the device is back without it) was counted then.
        job.state is not JobState.CANCELLING
        and job.state not in JOB_TERMINAL
        and attempt.state not in ATTEMPT_TERMINAL
    ):
        device_admin.record_failure(connection, attempt.key.device_id, job.job_id, reason)


_REFUSABLE = (AttemptState.OFFERED, AttemptState.PREPARING)
