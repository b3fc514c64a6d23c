"""What the scheduler looks at: waiting jobs, boards and series, as one moment of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from functools import lru_cache

from fleetmark_catalog.core.errors import CatalogError
from fleetmark_catalog.core.lock import parse_lock
from fleetmark_controller.clock import NS_PER_S, iso, parse_iso
from fleetmark_controller.scheduling.model import DeviceState, Seen, Series, View, WaitingJob
from fleetmark_controller.store import releases

HEALTH_CHECK = "health check"
"""Purpose of a campaign that decides whether a quarantined board may return."""
_LOOK_AT = 1000
"""Jobs that are looked at for each open board; it gets one of them."""
_ALL = 1 << 60
_FEW = 20
"""Of so many boards each is looked up for each job; of more (`+`) all boards of a job are read."""


def view(
    connection: sqlite3.Connection,
    now_ns: int,
    seen: Mapping[str, Seen],
    ageing_s: float = 0.0,
    open_devices: Iterable[str] | None = None,
) -> View:
    """The fleet now. `seen` is what presence says; devices that it does not name are offline.

    With `open_devices` only these, and the first jobs that could run on them: enough to decide
    what they do next. Without, everything that waits: enough to say why.
    """
    names = None if open_devices is None else list(open_devices)
    waiting = _waiting(connection, now_ns, ageing_s, names)
    if names is not None:
        # Of thousands of idle devices only those that a waiting job could run on matter.
        wanted = set().union(*(job.devices for job in waiting)) if waiting else set()
        # And those that time alone will free for jobs that were passed over.
        wanted |= _reserved(connection, now_ns)
        names = [name for name in names if name in wanted]
    devices = _devices(connection, seen, names)
    blobs: dict[str, Mapping[str, int]] = {}
    if any(len(job.devices) > 1 for job in waiting):
        blobs = _blobs(connection, waiting, devices)
    series = _series(connection, waiting)
    return View(waiting, devices, now_ns, series, blobs, releases.unsigned(connection))


def _reserved(connection: sqlite3.Connection, now_ns: int) -> set[str]:
    query = "SELECT device_id FROM device_care WHERE reserved_until > ?"
    return {row[0] for row in connection.execute(query, (iso(now_ns),))}


def _waiting(
    connection: sqlite3.Connection, now_ns: int, ageing_s: float, names: list[str] | None
) -> list[WaitingJob]:
    narrowed = ""
    values: list[float | str] = [ageing_s]
    if names is not None:
        marks = ",".join("?" * len(names))
        narrowed = f"""AND paused_at IS NULL AND attempts < max_attempts
            AND {"+" * (len(names) > _FEW)}job_option.device_id IN ({marks})
            AND (coalesce(reserved_until, '') <= ? OR reserved_for = submitted_by
                OR purpose <> '')"""
        values = [ageing_s, *names, iso(now_ns)]
    rows = connection.execute(
        f"""WITH seen AS (
            SELECT job.job_id, job_option.device_id, lock_sha256, min_sandbox, row_number() OVER (
                PARTITION BY job_option.device_id
                ORDER BY julianday(job.created_at) * 86400.0 - priority * ?, sequence) AS place
            FROM job JOIN campaign USING (campaign_id) JOIN job_option USING (job_id)
            LEFT JOIN device_care ON device_care.device_id = job_option.device_id
            WHERE state = 'QUEUED' {narrowed})
        SELECT job.job_id, sequence, priority, job.created_at, submitted_by, paused_at,
            attempts < max_attempts, cool_down_s, series, turn, purpose,
            group_concat(seen.device_id || ' ' || lock_sha256, ','), max(min_sandbox)
        FROM seen JOIN job USING (job_id) JOIN campaign USING (campaign_id)
        WHERE place <= ? GROUP BY job.job_id""",  # noqa: S608
        (*values, _LOOK_AT if names is not None else _ALL),
    )
    shared: dict[str, dict[str, str]] = {}
    waiting = []
    for row in rows:
        # Jobs with the same options share them: the scheduler ranks boards once for all of them.
        options = shared.get(row[11])
        if options is None:
            pairs = (pair.split(" ") for pair in row[11].split(","))
            options = shared[row[11]] = {device: lock for device, lock in pairs}
        waiting.append(
            WaitingJob(
                job_id=row[0],
                sequence=row[1],
                priority=row[2],
                devices=options,
                created_ns=parse_iso(row[3]),
                owner=row[4],
                paused=row[5] is not None,
                tries_left=bool(row[6]),
                cool_down_ns=int(row[7] * NS_PER_S),
                series=row[8],
                turn=row[9],
                health_check=row[10] == HEALTH_CHECK,
                min_sandbox=row[12],
            )
        )
    return waiting


def _devices(
    connection: sqlite3.Connection, seen: Mapping[str, Seen], names: list[str] | None
) -> dict[str, DeviceState]:
    marks = "" if names is None else f"AND device_id IN ({','.join('?' * len(names))})"
    rows = connection.execute(
        f"""SELECT device.device_id, device.name, drained_at, coalesce(drain_reason, ''),
        coalesce(reserved_for, ''), coalesce(reserved_until, ''), coalesce(failures, 0),
        (SELECT job_id FROM attempt WHERE attempt.device_id = device.device_id
            AND state IN ('OFFERED', 'PREPARING', 'RUNNING', 'UPLOADING')
            AND exported_at IS NULL
            ORDER BY epoch DESC LIMIT 1),
        (SELECT group_concat(lock_sha256, ',') FROM device_lock
            WHERE device_lock.device_id = device.device_id),
        coalesce(json_extract(capabilities, '$.sandbox.level'), '')
        FROM device LEFT JOIN device_care USING (device_id)
        WHERE device_id NOT IN (SELECT identity_id FROM identity WHERE state = 'removed')
        {marks}""",  # noqa: S608
        names or (),
    )
    return {
        row[0]: DeviceState(
            device_id=row[0],
            name=row[1],
            seen=seen.get(row[0], _AWAY),
            busy_with=row[7] or "",
            drained=row[2] is not None,
            drain_reason=row[3],
            reserved_for=row[4],
            reserved_until_ns=parse_iso(row[5]) if row[5] else 0,
            failures=row[6],
            locks=frozenset(row[8].split(",")) if row[8] else frozenset(),
            sandbox=row[9],
        )
        for row in rows
    }


def _series(connection: sqlite3.Connection, waiting: Iterable[WaitingJob]) -> dict[str, Series]:
    found: dict[str, Series] = {}
    for name in {job.series for job in waiting if job.series}:
        # The board of its newest try goes on with it, unless its next job cannot run there.
        row = connection.execute(
            """SELECT max(state IN ('ACTIVE', 'CANCELLING')) AS active,
            (SELECT device_id FROM job WHERE series = ?1 AND attempts > 0
                ORDER BY newest_epoch DESC LIMIT 1) AS board,
            (SELECT job_id FROM job WHERE series = ?1 AND state = 'QUEUED'
                AND attempts < max_attempts ORDER BY turn, sequence LIMIT 1) AS next
            FROM job WHERE series = ?1""",
            (name,),
        ).fetchone()
        fits = (
            row["next"] is None
            or connection.execute(
                "SELECT 1 FROM job_option WHERE job_id = ? AND device_id = ?",
                (row["next"], row["board"]),
            ).fetchone()
        )
        found[name] = Series(row["board"] or "" if fits else "", bool(row["active"]))
    return found


def _blobs(
    connection: sqlite3.Connection,
    waiting: Iterable[WaitingJob],
    devices: Mapping[str, DeviceState],
) -> dict[str, Mapping[str, int]]:
    wanted = {lock for job in waiting if len(job.devices) > 1 for lock in job.devices.values()}
    wanted.update(lock for device in devices.values() for lock in device.locks)
    found: dict[str, Mapping[str, int]] = {}
    for lock in wanted:
        row = connection.execute(
            "SELECT content FROM lock WHERE lock_sha256 = ?", (lock,)
        ).fetchone()
        if row is not None:
            found[lock] = _blobs_of(bytes(row[0]))
    return found


@lru_cache(maxsize=4096)
def _blobs_of(content: bytes) -> Mapping[str, int]:
    """Digest and size in bytes of all that a lock names; nothing if it cannot be read."""
    try:
        return {blob.sha256: blob.size_bytes for blob in parse_lock(content).blobs()}
    except CatalogError:
        return {}


def was_sent(connection: sqlite3.Connection, now_ns: int, device_id: str, job_id: str) -> None:
    """A device has all blobs of a job: its run has begun."""
    connection.execute(
        """INSERT INTO device_lock SELECT device_id, lock_sha256, ? FROM job_option
        WHERE job_id = ? AND device_id = ?
        ON CONFLICT (device_id, lock_sha256) DO UPDATE SET at = excluded.at""",
        (iso(now_ns), job_id, device_id),
    )
    connection.execute(
        """DELETE FROM device_lock WHERE device_id = ?1 AND lock_sha256 NOT IN (
        SELECT lock_sha256 FROM device_lock WHERE device_id = ?1 ORDER BY at DESC LIMIT 100)""",
        (device_id,),
    )


_AWAY = Seen("offline", idle=False)
