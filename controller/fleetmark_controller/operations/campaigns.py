"""Operations on campaigns: submit, pause, cancel, retry, replay, and the deadline of jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from fleetmark_controller.identity.model import IdentityState
from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.lifecycle.states import JobState
from fleetmark_controller.operations.attempt_end import end_attempt
from fleetmark_controller.operations.effects import Effects, StopEffect
from fleetmark_controller.operations.tuned_parameters import TUNED, parameters_at_dispatch
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
    """Store a campaign once: a repeated request with the same id changes nothing.

    Returns:
        Whether this call stored it.
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
    """Cancel the jobs that are not terminal; return how many.

    A queued job is cancelled at once, an active job when its device has confirmed.
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
    """Stop further jobs of a campaign from starting, or allow them to start again."""
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

    A job that was retried before is not retried again.

    Returns:
        The ids of the new jobs. Each has the configuration, devices, number of attempts and length
        of deadline of the old one.
    """
    new: list[str] = []
    for job_id in job_ids:
        job = jobs.get(connection, job_id)
        if job is None or job.state not in again or jobs.is_retried(connection, job_id):
            continue
        if not job_options.can_run_anywhere(connection, job_id):
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
    *,
    changes: Mapping[str, object] | None = None,
    label: str = "",
    origin: str = "replay",
) -> str:
    """Submit a campaign that repeats a run with the same lockfile on the same device.

    A repeated request with the same campaign id changes nothing.

    Args:
        connection: connection in a write transaction.
        effects: receives the effects.
        now_ns: the time.
        run_id: the run.
        campaign_id: id of the new campaign.
        repetitions: number of jobs.
        submitted_by: the operator.
        changes: keys of the configuration of the new jobs that differ from that of the run.
        label: the label of the new jobs; empty for that of the run.
        origin: key of the run's id in the request of the campaign.

    Returns:
        The name of the device.

    Raises:
        FleetmarkError: NOTHING_FITS: the device no longer takes jobs.
    """
    made = runs.origin(connection, run_id)
    job = jobs.get(connection, made.job_id)
    assert job is not None
    option = job_options.get(connection, job.job_id, made.device_id)
    identity = identities.get(connection, made.device_id)
    if option is None or identity is None or identity.state is not IdentityState.ACTIVE:
        raise FleetmarkError(
            ErrorKind.NOTHING_FITS,
            f"device {made.device_name} no longer takes jobs",
            f"run {run_id}",
            "Schedule the same benchmark on another device",
        )
    if not campaigns.exists(connection, campaign_id):
        values = {TUNED: parameters_at_dispatch(job, made.order)}
        again = replace(
            jobs.clone_job(connection, now_ns, job, "").restricted_to(option),
            configuration={**job.configuration, **values, **(changes or {})},
            label=label or job.label,
            interleave_group="",
            interleave_index=0,
        )
        if again.configuration.get("stable"):
            # Keep the conditions of a stable run, but run only the requested repetitions.
            again = replace(again, configuration={**again.configuration, "stable": "once"})
        campaign = NewCampaign(
            campaign_id,
            str(job.configuration.get("benchmark", "")),
            f"name={made.device_name}",
            str(job.configuration.get("profile", "")),
            {origin: run_id},
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
    """Fail the jobs whose deadline has passed.

    `waits` gives the current wait reason of each queued job, for the message.
    """
    for job_id in jobs.overdue(connection, now_ns):
        job = jobs.get(connection, job_id)
        if job is None:
            continue
        why = (waits or {}).get(job_id, "")
        waited = f": {why}" if why else ""
        before = f" (before: {job.reason})" if job.reason else ""
        reason = f"its deadline passed{waited}{before}"
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
        # The device cannot be notified: results that it delivers later are stored as late.
        end_attempt(connection, effects, now_ns, attempt, AttemptOutcome.ABORTED, reason)
    elif attempt is not None:
        effects.stops.append(StopEffect(key, reason))
