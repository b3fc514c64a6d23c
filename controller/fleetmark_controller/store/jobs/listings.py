"""Campaigns, jobs and attempts as operators and watchers see them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fleetmark_controller.store.jobs import campaigns, jobs
from fleetmark_controller.store.jobs.job_options import OPTIONS

_JOB = """SELECT job_id, campaign_id,
    coalesce((SELECT name FROM device WHERE device.device_id = job.device_id), '') AS device,
    label, state, reason, attempts, created_at, coalesce(finished_at, '') AS finished_at,
    coalesce(run_id, '') AS run_id, coalesce(expected_s, 0), coalesce(retried_as, '') FROM job"""


@dataclass(frozen=True)
class JobLine:
    """One job in a listing; unknown fields are empty."""

    job_id: str
    campaign_id: str
    device: str
    configuration: str
    state: str
    reason: str
    attempts: int
    created_at: str
    finished_at: str
    run_id: str
    expected_s: float = 0.0
    retried_as: str = ""


@dataclass(frozen=True)
class CampaignLine:
    """One campaign in a listing."""

    campaign_id: str
    benchmark: str
    selector: str
    state: str
    created_at: str
    finished_at: str
    jobs_by_state: dict[str, int]
    bundle_bytes: int
    """Sum over the jobs of the sizes of their bundles; shared blobs count once per job."""
    bytes_sent: int
    """Bytes of blobs that were sent to devices for its jobs."""
    paused_at: str = ""
    submitted_by: str = ""


@dataclass(frozen=True)
class AttemptLine:
    """One attempt in a job's details."""

    epoch: int
    device: str
    state: str
    reason: str
    created_at: str
    finished_at: str
    records: int
    bytes_sent: int


@dataclass(frozen=True)
class JobPage:
    """A job with all its details; its sizes are those of the option with the largest memory."""

    job: JobLine
    attempts: list[AttemptLine]
    configuration: dict[str, Any]
    lock_sha256: str
    bundle_bytes: int
    memory_bytes: int
    disk_bytes: int


def jobs_by_id(connection: sqlite3.Connection, ids: Collection[str]) -> list[JobLine]:
    """Return the jobs with these ids, in order of submission."""
    marks = ",".join("?" * len(ids))
    rows = connection.execute(f"{_JOB} WHERE job_id IN ({marks}) ORDER BY sequence", tuple(ids))
    return [JobLine(*row) for row in rows]


def list_jobs(
    connection: sqlite3.Connection, campaign_id: str = "", state: str = ""
) -> list[JobLine]:
    """Return jobs in order of submission; an empty filter matches all."""
    wanted = {"campaign_id": campaign_id, "state": state}
    conditions = " AND ".join(f"{name} = ?" for name, value in wanted.items() if value)
    rows = connection.execute(
        f"{_JOB}{' WHERE ' if conditions else ''}{conditions} ORDER BY sequence",
        [value for value in wanted.values() if value],
    )
    return [JobLine(*row) for row in rows]


def list_campaigns(connection: sqlite3.Connection, campaign_id: str = "") -> list[CampaignLine]:
    """Return all campaigns, newest first, or only the one with this id."""
    rows = connection.execute(
        f"""SELECT campaign_id, benchmark, selector, created_at, coalesce(finished_at, ''),
        (SELECT coalesce(sum(bytes), 0) FROM
            (SELECT max(bundle_bytes) AS bytes FROM {OPTIONS} JOIN job USING (job_id)
             WHERE job.campaign_id = campaign.campaign_id GROUP BY job_id)),
        (SELECT coalesce(sum(bytes_sent), 0) FROM attempt JOIN job USING (job_id)
         WHERE job.campaign_id = campaign.campaign_id),
        coalesce(paused_at, ''), submitted_by
        FROM campaign {"WHERE campaign_id = ?" if campaign_id else ""}
        ORDER BY created_at DESC, campaign_id DESC""",  # noqa: S608
        [campaign_id] if campaign_id else [],
    ).fetchall()
    return [
        CampaignLine(
            campaign_id=row[0],
            benchmark=row[1],
            selector=row[2],
            state="finished" if row[4] else "paused" if row[7] else "running",
            created_at=row[3],
            finished_at=row[4],
            jobs_by_state=campaigns.states(connection, row[0]),
            bundle_bytes=row[5],
            bytes_sent=row[6],
            paused_at=row[7],
            submitted_by=row[8],
        )
        for row in rows
    ]


def job_page(connection: sqlite3.Connection, job_id: str) -> JobPage:
    """Return all details of a job, which must exist."""
    (line,) = jobs_by_id(connection, [job_id])
    rows = connection.execute(
        """SELECT epoch, name, attempt.state, attempt.reason, attempt.created_at,
        coalesce(attempt.finished_at, ''), through_seq, bytes_sent
        FROM attempt JOIN device USING (device_id) WHERE job_id = ? ORDER BY epoch""",
        (job_id,),
    )
    configuration = connection.execute(
        "SELECT configuration FROM job WHERE job_id = ?", (job_id,)
    ).fetchone()[0]
    option = connection.execute(
        f"""SELECT lock_sha256, bundle_bytes, memory_bytes,
        bundle_bytes + environment_bytes + output_bytes
        FROM {OPTIONS} WHERE job_id = ? ORDER BY memory_bytes DESC LIMIT 1""",  # noqa: S608
        (job_id,),
    ).fetchone()
    return JobPage(line, [AttemptLine(*row) for row in rows], json.loads(configuration), *option)


def active_jobs(connection: sqlite3.Connection) -> dict[str, tuple[str, str]]:
    """Return the id and label of the current job of each device that has one."""
    rows = connection.execute(
        "SELECT attempt.device_id, job_id, label FROM attempt JOIN job USING (job_id)"
        " WHERE attempt.state IN ('OFFERED', 'PREPARING', 'RUNNING', 'UPLOADING') ORDER BY epoch"
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def job_states_on(connection: sqlite3.Connection, device_id: str) -> dict[str, int]:
    """Return how many of the jobs bound to a device are in each state."""
    rows = connection.execute(
        "SELECT state, count(*) FROM job WHERE device_id = ? GROUP BY state", (device_id,)
    )
    return {row[0]: row[1] for row in rows}


def any_overdue(connection: sqlite3.Connection, now_ns: int) -> bool:
    """Return whether a job is past its deadline."""
    return bool(jobs.overdue(connection, now_ns))
