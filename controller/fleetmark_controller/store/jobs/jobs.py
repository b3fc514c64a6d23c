"""Jobs: state transitions and all other changes to them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fleetmark_controller.lifecycle.states import JOB_TERMINAL, JobState, check
from fleetmark_controller.planning.model import NewJob
from fleetmark_controller.store import events
from fleetmark_controller.store.jobs import job_options
from fleetmark_core.clock import iso, parse_iso


@dataclass(frozen=True)
class Job:
    """A job with the fields that the lifecycle rules need."""

    job_id: str
    campaign_id: str
    label: str
    configuration: dict[str, Any]
    state: JobState
    reason: str
    timeout_s: float
    attempts: int
    max_attempts: int
    newest_epoch: int
    device_id: str | None


def add_jobs(
    connection: sqlite3.Connection, now_ns: int, campaign_id: str, jobs: Iterable[NewJob]
) -> None:
    """Store jobs of a campaign, all queued."""
    at = iso(now_ns)
    sequence = connection.execute("SELECT coalesce(max(sequence), 0) FROM job").fetchone()[0]
    sets: dict[tuple[int, ...], str] = {}
    for number, job in enumerate(jobs, sequence + 1):
        # Repetitions share the same option objects, which are stored once, under the first one's
        # id.
        alike = tuple(map(id, job.options))
        new_set = not job.option_set_id and alike not in sets
        option_set_id = job.option_set_id or sets.setdefault(alike, job.job_id)
        only = job.options[0].device_id if len(job.options) == 1 else None
        connection.execute(
            """INSERT INTO job (job_id, sequence, campaign_id, label, configuration,
            configuration_key, repetition, state, reason, priority, timeout_s, deadline_at,
            max_attempts, device_id, created_at, interleave_group, interleave_index, expected_s,
            option_set_id)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                job.job_id,
                number,
                campaign_id,
                job.label,
                json.dumps(job.configuration, ensure_ascii=False),
                job.configuration_key,
                job.repetition,
                JobState.QUEUED.value,
                "",
                job.priority,
                job.timeout_s,
                job.deadline_at,
                job.max_attempts,
                only,
                at,
                job.interleave_group,
                job.interleave_index,
                job.expected_s,
                option_set_id,
            ),
        )
        if new_set:
            job_options.add_set(connection, option_set_id, job.options)


def get(connection: sqlite3.Connection, job_id: str) -> Job | None:
    """Return one job; None if it does not exist."""
    row = connection.execute("SELECT * FROM job WHERE job_id = ?", (job_id,)).fetchone()
    if row is None:
        return None
    return Job(
        row["job_id"],
        row["campaign_id"],
        row["label"],
        json.loads(row["configuration"]),
        JobState(row["state"]),
        row["reason"],
        row["timeout_s"],
        row["attempts"],
        row["max_attempts"],
        row["newest_epoch"],
        row["device_id"],
    )


def transition(
    connection: sqlite3.Connection, now_ns: int, job: Job, new: JobState, reason: str
) -> None:
    """Move a job to the state `new` and log the event. Finish its campaign if it was the last one.

    Raises:
        IllegalTransition: a bug in this program.
    """
    check(job.state, new, f"job {job.job_id}", lambda: events.history(connection, job.job_id))
    finished = iso(now_ns) if new in JOB_TERMINAL else None
    changed = connection.execute(
        "UPDATE job SET state = ?, reason = ?, finished_at = ? WHERE job_id = ? AND state = ?",
        (new.value, reason, finished, job.job_id, job.state.value),
    ).rowcount
    if changed != 1:
        raise RuntimeError(f"job {job.job_id} is no longer {job.state.value}")
    events.add(connection, now_ns, f"job.{new.value.lower()}", job_id=job.job_id, reason=reason)
    if finished:
        _finish_campaign(connection, now_ns, job.campaign_id)


def assign(connection: sqlite3.Connection, job_id: str, device_id: str, epoch: int) -> None:
    """Bind a job to a device, count an attempt, and make `epoch` the job's newest."""
    connection.execute(
        "UPDATE job SET attempts = attempts + 1, newest_epoch = ?, device_id = ?"
        " WHERE job_id = ? AND newest_epoch < ?",
        (epoch, device_id, job_id, epoch),
    )


def highest_repetition(
    connection: sqlite3.Connection, campaign_id: str, key: str, mode: str, device_id: str
) -> int:
    """Return the highest repetition of a configuration on a device in a campaign; 0 if none."""
    row = connection.execute(
        """SELECT max(repetition) FROM job WHERE campaign_id = ? AND configuration_key = ?
        AND configuration ->> '$.mode' = ? AND device_id = ?""",
        (campaign_id, key, mode, device_id),
    ).fetchone()
    return int(row[0] or 0)


def is_retried(connection: sqlite3.Connection, job_id: str) -> bool:
    """Return whether another job retries this one."""
    query = "SELECT 1 FROM job WHERE job_id = ? AND retried_as NOT NULL"
    return connection.execute(query, (job_id,)).fetchone() is not None


def repeat(connection: sqlite3.Connection, now_ns: int, job: Job, new_id: str) -> str:
    """Queue a job that repeats a finished one, in the same campaign, and return its id."""
    add_again(connection, now_ns, job.campaign_id, clone_job(connection, now_ns, job, new_id))
    connection.execute("UPDATE job SET retried_as = ? WHERE job_id = ?", (new_id, job.job_id))
    events.add(connection, now_ns, "job.retried", job_id=job.job_id, retried_as=new_id)
    return new_id


def add_again(connection: sqlite3.Connection, now_ns: int, campaign_id: str, job: NewJob) -> None:
    """Queue one more job of a campaign, and reopen the campaign if it had finished."""
    add_jobs(connection, now_ns, campaign_id, [job])
    connection.execute(
        "UPDATE campaign SET finished_at = NULL WHERE campaign_id = ?", (campaign_id,)
    )


def clone_job(connection: sqlite3.Connection, now_ns: int, job: Job, new_id: str) -> NewJob:
    """Return a new job with the configuration, options and deadline interval of an existing one."""
    row = connection.execute("SELECT * FROM job WHERE job_id = ?", (job.job_id,)).fetchone()
    allowed_ns = parse_iso(row["deadline_at"]) - parse_iso(row["created_at"])
    return NewJob(
        job_id=new_id,
        label=job.label,
        configuration=job.configuration,
        configuration_key=row["configuration_key"],
        repetition=row["repetition"],
        priority=row["priority"],
        timeout_s=job.timeout_s,
        deadline_at=iso(now_ns + allowed_ns),
        max_attempts=job.max_attempts,
        options=job_options.get_all(connection, job.job_id),
        interleave_group=row["interleave_group"],
        interleave_index=row["interleave_index"],
        expected_s=row["expected_s"],
        option_set_id=row["option_set_id"],
    )


def waiting_only_for(connection: sqlite3.Connection, device_id: str) -> list[str]:
    """Return the ids of queued jobs that no other device of the fleet can run."""
    rows = connection.execute(
        """SELECT job_id FROM job WHERE state = 'QUEUED' AND EXISTS (
            SELECT 1 FROM job_option
            WHERE job_option.option_set_id = job.option_set_id AND device_id = ?1)
        AND NOT EXISTS (
            SELECT 1 FROM job_option
            WHERE job_option.option_set_id = job.option_set_id AND device_id <> ?1
            AND device_id NOT IN (SELECT identity_id FROM identity WHERE state = 'removed'))""",
        (device_id,),
    )
    return [row[0] for row in rows]


def exhausted_jobs_of(connection: sqlite3.Connection, device_id: str) -> list[tuple[str, int]]:
    """Return (job id, epoch) of queued jobs that have no attempts left and await a lost result.

    Their last attempt was lost on this device before its final record arrived.
    """
    rows = connection.execute(
        "SELECT job_id, newest_epoch FROM job JOIN attempt USING (job_id, device_id)"
        " WHERE job.state = 'QUEUED' AND attempts >= max_attempts AND job.device_id = ?"
        " AND attempt.epoch = newest_epoch AND attempt.final_seq IS NULL",
        (device_id,),
    )
    return [(row[0], row[1]) for row in rows]


def overdue(connection: sqlite3.Connection, now_ns: int) -> list[str]:
    """Return the ids of queued and active jobs whose deadline has passed."""
    rows = connection.execute(
        "SELECT job_id FROM job WHERE deadline_at <= ? AND state IN ('QUEUED', 'ACTIVE')",
        (iso(now_ns),),
    )
    return [row[0] for row in rows]


def _finish_campaign(connection: sqlite3.Connection, now_ns: int, campaign_id: str) -> None:
    # The condition must match the partial index `job_open`; otherwise each finished job would cause
    # a scan of all the campaign's finished jobs.
    connection.execute(
        """UPDATE campaign SET finished_at = ? WHERE campaign_id = ? AND NOT EXISTS (
        SELECT 1 FROM job WHERE job.campaign_id = campaign.campaign_id
        AND state IN ('QUEUED', 'ACTIVE', 'CANCELLING'))""",
        (iso(now_ns), campaign_id),
    )
