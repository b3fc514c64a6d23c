"""Campaigns, jobs and the devices on which each job resolved."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from typing import Any

from fleetmark_catalog.core.lock import Lock, parse_lock
from fleetmark_controller.clock import iso
from fleetmark_controller.lifecycle.states import JOB_TERMINAL, JobState, check
from fleetmark_controller.scheduling.model import WaitingJob
from fleetmark_controller.store import events


@dataclass(frozen=True)
class NewCampaign:
    """What one `controller schedule` submits."""

    campaign_id: str
    benchmark: str
    selector: str
    profile: str
    request: dict[str, Any]


@dataclass(frozen=True)
class Option:
    """A device on which a job can run, with the lock for it and what it is predicted to need.

    Memory of the job's process; disk for its unpacked environment and for what it writes. Zero:
    nothing was predicted.
    """

    device_id: str
    lock_sha256: str
    lock_bytes: int
    bundle_bytes: int
    memory_bytes: int = 0
    environment_bytes: int = 0
    output_bytes: int = 0

    @property
    def disk_bytes(self) -> int:
        """Disk that a board needs which has nothing of it yet."""
        return self.bundle_bytes + self.environment_bytes + self.output_bytes


_OPTION = ", ".join(field.name for field in fields(Option))


@dataclass(frozen=True)
class NewJob:
    """One configuration, one repetition; pinned if it has one option."""

    job_id: str
    label: str
    configuration: dict[str, Any]
    configuration_key: str
    repetition: int
    priority: int
    timeout_s: float
    deadline_at: str
    max_attempts: int
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Job:
    """A job as the rules see it."""

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


def campaign_exists(connection: sqlite3.Connection, campaign_id: str) -> bool:
    """Whether the campaign was stored, so that a repeated request changes nothing."""
    query = "SELECT 1 FROM campaign WHERE campaign_id = ?"
    return connection.execute(query, (campaign_id,)).fetchone() is not None


def add_campaign(
    connection: sqlite3.Connection,
    now_ns: int,
    campaign: NewCampaign,
    jobs: Iterable[NewJob],
    locks: dict[str, bytes],
) -> None:
    """Store a campaign with its jobs and locks, all queued."""
    at = iso(now_ns)
    connection.execute(
        "INSERT INTO campaign VALUES (?, ?, ?, ?, ?, ?, NULL)",
        (
            campaign.campaign_id,
            campaign.benchmark,
            campaign.selector,
            campaign.profile,
            json.dumps(campaign.request, ensure_ascii=False),
            at,
        ),
    )
    connection.executemany("INSERT OR IGNORE INTO lock VALUES (?, ?)", locks.items())
    sequence = connection.execute("SELECT coalesce(max(sequence), 0) FROM job").fetchone()[0]
    for number, job in enumerate(jobs, sequence + 1):
        only = job.options[0].device_id if len(job.options) == 1 else None
        connection.execute(
            """INSERT INTO job (job_id, sequence, campaign_id, label, configuration,
            configuration_key, repetition, state, reason, priority, timeout_s, deadline_at,
            max_attempts, device_id, created_at)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                job.job_id,
                number,
                campaign.campaign_id,
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
            ),
        )
        connection.executemany(
            f"INSERT INTO job_option (job_id, {_OPTION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            ((job.job_id, *astuple(o)) for o in job.options),
        )
    events.add(connection, now_ns, "campaign.submitted", campaign=campaign.campaign_id)


def get(connection: sqlite3.Connection, job_id: str) -> Job | None:
    """One job."""
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


def option(connection: sqlite3.Connection, job_id: str, device_id: str) -> Option | None:
    """How the job runs on a device; None if it cannot."""
    row = connection.execute(
        f"SELECT {_OPTION} FROM job_option WHERE job_id = ? AND device_id = ?",  # noqa: S608
        (job_id, device_id),
    ).fetchone()
    return None if row is None else Option(*row)


def lock(connection: sqlite3.Connection, lock_sha256: str) -> Lock:
    """A stored lock."""
    row = connection.execute(
        "SELECT content FROM lock WHERE lock_sha256 = ?", (lock_sha256,)
    ).fetchone()
    return parse_lock(bytes(row[0]))


def waiting_for(
    connection: sqlite3.Connection, devices: Iterable[str], limit: int
) -> list[WaitingJob]:
    """Queued jobs with a try left that could run on one of `devices`, first come first."""
    names = list(devices)
    marks = ",".join("?" * len(names))
    rows = connection.execute(
        f"""SELECT job.job_id, sequence, priority, group_concat(job_option.device_id) AS devices
        FROM job JOIN job_option USING (job_id)
        WHERE state = 'QUEUED' AND attempts < max_attempts AND job_option.device_id IN ({marks})
        GROUP BY job.job_id ORDER BY priority DESC, sequence LIMIT ?""",  # noqa: S608
        (*names, limit),
    )
    return [WaitingJob(r[0], r[1], r[2], frozenset(r[3].split(","))) for r in rows]


def transition(
    connection: sqlite3.Connection, now_ns: int, job: Job, new: JobState, reason: str
) -> None:
    """Move a job along the table, with its event.

    Raises:
        IllegalTransition: a fault of the program.
    """
    check(job.state, new, f"job {job.job_id}", lambda: events.history(connection, job.job_id))
    finished = iso(now_ns) if new in JOB_TERMINAL else None
    changed = connection.execute(
        "UPDATE job SET state = ?, reason = ?, finished_at = ? WHERE job_id = ? AND state = ?",
        (new.value, reason, finished, job.job_id, job.state.value),
    ).rowcount
    if changed != 1:
        raise RuntimeError(f"job {job.job_id} is not {job.state.value} any more")
    events.add(connection, now_ns, f"job.{new.value.lower()}", job_id=job.job_id, reason=reason)
    if finished:
        _finish_campaign(connection, now_ns, job.campaign_id)


def bind(connection: sqlite3.Connection, job_id: str, device_id: str, epoch: int) -> None:
    """Count a try and make `epoch` the job's newest."""
    connection.execute(
        "UPDATE job SET attempts = attempts + 1, newest_epoch = ?, device_id = ?"
        " WHERE job_id = ? AND newest_epoch < ?",
        (epoch, device_id, job_id, epoch),
    )


def strike_off(connection: sqlite3.Connection, job_id: str, device_id: str) -> bool:
    """Offer a job to this device no more, if another may still take it; whether that is so."""
    others = connection.execute(
        "SELECT 1 FROM job_option WHERE job_id = ? AND device_id <> ?", (job_id, device_id)
    ).fetchone()
    if others is None:
        return False
    connection.execute(
        "DELETE FROM job_option WHERE job_id = ? AND device_id = ?", (job_id, device_id)
    )
    return True


def set_reason(connection: sqlite3.Connection, job_id: str, reason: str) -> None:
    """Say why a job waits."""
    connection.execute("UPDATE job SET reason = ? WHERE job_id = ?", (reason, job_id))


def hopeless(connection: sqlite3.Connection, device_id: str) -> list[tuple[str, int]]:
    """(job, epoch) of queued jobs with no try left, whose last one was lost on this device."""
    rows = connection.execute(
        "SELECT job_id, newest_epoch FROM job JOIN attempt USING (job_id, device_id)"
        " WHERE job.state = 'QUEUED' AND attempts >= max_attempts AND job.device_id = ?"
        " AND attempt.epoch = newest_epoch AND attempt.final_seq IS NULL",
        (device_id,),
    )
    return [(row[0], row[1]) for row in rows]


def overdue(connection: sqlite3.Connection, now_ns: int) -> list[str]:
    """Ids of jobs that are not terminal at their deadline."""
    rows = connection.execute(
        "SELECT job_id FROM job WHERE deadline_at <= ? AND state IN ('QUEUED', 'ACTIVE')",
        (iso(now_ns),),
    )
    return [row[0] for row in rows]


def states(connection: sqlite3.Connection, campaign_id: str) -> dict[str, int]:
    """How many jobs of a campaign are in each state."""
    rows = connection.execute(
        "SELECT state, count(*) FROM job WHERE campaign_id = ? GROUP BY state", (campaign_id,)
    )
    return {row[0]: row[1] for row in rows}


def _finish_campaign(connection: sqlite3.Connection, now_ns: int, campaign_id: str) -> None:
    terminal = ",".join(f"'{state.value}'" for state in JOB_TERMINAL)
    connection.execute(
        f"""UPDATE campaign SET finished_at = ? WHERE campaign_id = ? AND NOT EXISTS (
        SELECT 1 FROM job WHERE job.campaign_id = campaign.campaign_id
        AND state NOT IN ({terminal}))""",  # noqa: S608
        (iso(now_ns), campaign_id),
    )
