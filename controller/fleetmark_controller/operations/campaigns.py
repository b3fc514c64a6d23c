"""Campaigns: submit, pause, cancel, retry, and the deadline of jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fleetmark_controller.identity.model import State
from fleetmark_controller.lifecycle.retry_policy import Ending
from fleetmark_controller.lifecycle.states import JobState
from fleetmark_controller.operations.attempt_end import end_attempt
from fleetmark_controller.operations.effects import Effects, StopEffect
from fleetmark_controller.operations.tuned_parameters import TOLD, told_then
from fleetmark_controller.planning.model import NewCampaign, NewJob
from fleetmark_controller.store.jobs import attempts, campaigns, job_options, jobs
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.results import runs
from fleetmark_controller.store.security import identities
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import uuid7


def submit(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    campaign: NewCampaign,
    new_jobs: Sequence[NewJob],
    locks: dict[str, bytes],
) -> bool:
    """Store a campaign, once: a repeated request with the same id changes nothing.

    Returns:
        Whether it was stored by this call.
    """
    if campaigns.exists(connection, campaign.campaign_id):
        return False
    campaigns.add(connection, now_ns, campaign, new_jobs, locks)
    effects.jobs.update(job.job_id for job in new_jobs)
    effects.schedule = True
    return True


def cancel(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, job_ids: Sequence[str]
) -> int:
    """Cancel jobs that are not terminal; returns how many.

    A queued one is cancelled at once, an active one when its device has confirmed.
    """
    count = 0
    for job_id in job_ids:
        job = jobs.get(connection, job_id)
        if job is None or job.state not in (JobState.QUEUED, JobState.ACTIVE):
            continue
        queued = job.state is JobState.QUEUED
        new = JobState.CANCELLED if queued else JobState.CANCELLING
        jobs.transition(connection, now_ns, job, new, "cancelled")
        if not queued:
            _stop(connection, effects, now_ns, job, "cancelled")
        effects.jobs.add(job_id)
        count += 1
    return count


def set_paused(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, campaign_id: str, pause: bool
) -> None:
    """Let no further job of a campaign begin, or let them begin again."""
    campaigns.set_paused(connection, now_ns, campaign_id, pause)
    effects.schedule = not pause


def retry(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    job_ids: Sequence[str],
    again: frozenset[JobState],
    new_id: Callable[[], str] = uuid7,
) -> list[str]:
    """Queue new jobs for those of `job_ids` that ended in one of the states `again`.

    A job that was retried before is not retried once more. Returns the ids of the new jobs; each
    has the configuration, boards and tries of the old one, and as long a deadline.
    """
    new: list[str] = []
    for job_id in job_ids:
        job = jobs.get(connection, job_id)
        if job is None or job.state not in again or jobs.is_retried(connection, job_id):
            continue
        if not job_options.exist(connection, job_id):
            continue
        new.append(jobs.repeat(connection, now_ns, job, new_id()))
    effects.jobs.update(new)
    effects.schedule = True
    return new


def replay(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    run_id: str,
    campaign_id: str,
    repetitions: int,
    submitted_by: str,
) -> str:
    """A campaign that does what a run did, with the same lock on the same board.

    Returns the board's name. A repeated request with the same campaign changes nothing.

    Raises:
        FleetmarkError: NOTHING_FITS, the board is not there any more.
    """
    made = runs.origin(connection, run_id)
    job = jobs.get(connection, made.job_id)
    assert job is not None
    option = job_options.get(connection, job.job_id, made.device_id)
    identity = identities.get(connection, made.device_id)
    if option is None or identity is None or identity.state is not State.ACTIVE:
        raise FleetmarkError(
            ErrorKind.NOTHING_FITS,
            f"{made.device_name} takes no jobs any more",
            f"run {run_id}",
            "The same benchmark can be scheduled on another board",
        )
    if not campaigns.exists(connection, campaign_id):
        told = {TOLD: told_then(job, made.order)}
        again = replace(
            jobs.like(connection, now_ns, job, "").only_with(option),
            configuration={**job.configuration, **told},
            series="",
            turn=0,
        )
        if again.configuration.get("stable"):
            # Under the same settings, but as often as it is asked for.
            again = replace(again, configuration={**again.configuration, "stable": "once"})
        campaign = NewCampaign(
            campaign_id,
            str(job.configuration.get("benchmark", "")),
            f"name={made.device_name}",
            str(job.configuration.get("profile", "")),
            {"replay": run_id},
            submitted_by=submitted_by,
        )
        new = [
            replace(again, job_id=uuid7(), repetition=number)
            for number in range(1, repetitions + 1)
        ]
        submit(connection, effects, now_ns, campaign, new, {})
    return made.device_name


def end_overdue(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    waits: Mapping[str, str] | None = None,
) -> None:
    """Fail jobs whose deadline has passed; `waits` is why each that is queued waited until now."""
    for job_id in jobs.overdue(connection, now_ns):
        job = jobs.get(connection, job_id)
        if job is None:
            continue
        why = (waits or {}).get(job_id, "")
        waited = f": {why}" if why else ""
        before = f" (before: {job.reason})" if job.reason else ""
        reason = f"unmet at its deadline{waited}{before}"
        jobs.transition(connection, now_ns, job, JobState.FAILED, reason)
        if job.state is JobState.ACTIVE:
            _stop(connection, effects, now_ns, job, "its deadline has passed")
        effects.jobs.add(job_id)


def _stop(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, job: jobs.Job, reason: str
) -> None:
    key = AttemptKey(job.device_id or "", job.job_id, job.newest_epoch)
    attempt = attempts.get(connection, key)
    if attempt is not None and attempts.is_exported(connection, key):
        # Nobody can be told: what the board brings later is kept as late.
        end_attempt(connection, effects, now_ns, attempt, Ending.ABORTED, reason)
    elif attempt is not None:
        effects.stops.append(StopEffect(key, reason))
