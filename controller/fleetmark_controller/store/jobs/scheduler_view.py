"""The scheduler's input: waiting jobs, devices and interleave groups, read in one transaction."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

from fleetmark_controller.scheduling.model import (
    DeviceState,
    InterleaveGroup,
    PresenceSnapshot,
    SchedulerState,
    WaitingJob,
)
from fleetmark_controller.store.jobs.campaigns import HEALTH_CHECK
from fleetmark_controller.store.jobs.job_options import OPTIONS
from fleetmark_controller.store.security import releases
from fleetmark_core.clock import NS_PER_S, iso, parse_iso
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.lockfile import parse_lockfile

_LOOK_AT = 1000
"""Number of jobs considered for each open device; the device gets one of them."""
_FEW = 20
"""Up to this many devices, waiting jobs are looked up by device; above it, all are read."""
_IN_GROUP = "interleave_group = ?1 AND interleave_group <> ''"
"""Selects the jobs of a group. The second condition lets SQLite use the partial index."""
_GROUP = f"""SELECT max(state IN ('ACTIVE', 'CANCELLING')) AS active,
    (SELECT device_id FROM job WHERE {_IN_GROUP} AND attempts > 0
        ORDER BY newest_epoch DESC LIMIT 1) AS device_id,
    (SELECT job_id FROM job WHERE {_IN_GROUP} AND state = 'QUEUED'
        AND attempts < max_attempts ORDER BY interleave_index, sequence LIMIT 1) AS next
    FROM job WHERE {_IN_GROUP}"""  # noqa: S608
_AWAY = PresenceSnapshot("offline", idle=False)


def view(
    connection: sqlite3.Connection,
    now_ns: int,
    seen: Mapping[str, PresenceSnapshot],
    ageing_s: float = 0.0,
    open_devices: Iterable[str] | None = None,
) -> SchedulerState:
    """Return the state of the fleet for the scheduler.

    Args:
        connection: Connection in a read transaction.
        now_ns: Current wall-clock time.
        seen: Presence of each device; a device that is missing here is offline.
        ageing_s: Seconds of waiting that count as much as one level of priority.
        open_devices: Restricts the view to these devices and to the first jobs that could run on
            them, which is enough to decide what they do next. None: all waiting jobs and devices,
            which is needed to determine wait reasons.
    """
    names = None if open_devices is None else list(open_devices)
    reserved = _reserved(connection, now_ns)
    waiting = _waiting(connection, ageing_s, names, reserved)
    if names is not None:
        # Devices for which no job waits are irrelevant.
        sets = {(job.device_set, job.owner): job.devices for job in waiting}
        candidate_devices = set().union(*sets.values())
        # Keep reserved devices too: when a reservation ends, jobs that were passed over can run
        # there.
        candidate_devices |= reserved.keys()
        names = [name for name in names if name in candidate_devices]
    devices = _devices(connection, seen, names)
    blobs: dict[str, Mapping[str, int]] = {}
    if any(len(job.devices) > 1 for job in waiting):
        blobs = _blobs(connection, waiting, devices)
    groups = _interleave_groups(connection, waiting)
    return SchedulerState(waiting, devices, now_ns, groups, blobs, releases.unsigned(connection))


def candidate_devices(connection: sqlite3.Connection, most: int = 2000) -> set[str] | None:
    """Return the ids of devices that waiting jobs could run on, whether or not they are free.

    Returns:
        None if there are `most` or more combinations of job and device to read.
    """
    rows = connection.execute(
        """SELECT job_option.device_id FROM job JOIN job_option USING (option_set_id)
        JOIN campaign USING (campaign_id)
        WHERE state = 'QUEUED' AND paused_at IS NULL AND attempts < max_attempts LIMIT ?""",
        (most,),
    ).fetchall()
    return None if len(rows) == most else {row[0] for row in rows}


def _reserved(connection: sqlite3.Connection, now_ns: int) -> dict[str, str]:
    """Return the holder of each current reservation, by device id."""
    query = "SELECT device_id, reserved_for FROM device_admin WHERE reserved_until > ?"
    return {row[0]: row[1] for row in connection.execute(query, (iso(now_ns),))}


def _waiting(
    connection: sqlite3.Connection,
    ageing_s: float,
    names: list[str] | None,
    reserved: Mapping[str, str],
) -> list[WaitingJob]:
    narrowed, values = "", []
    if names is not None:
        narrowed = "AND paused_at IS NULL AND attempts < max_attempts"
        if len(names) <= _FEW:
            marks = ",".join("?" * len(names))
            narrowed += f""" AND EXISTS (SELECT 1 FROM job_option
                WHERE job_option.option_set_id = job.option_set_id AND device_id IN ({marks}))"""  # noqa: S608
            values = names
    rows = connection.execute(
        f"""SELECT job_id, sequence, priority, job.created_at, submitted_by, paused_at,
            attempts < max_attempts, cool_down_s, interleave_group, interleave_index, purpose,
            option_set_id
        FROM job JOIN campaign USING (campaign_id) WHERE state = 'QUEUED' {narrowed}
        ORDER BY julianday(job.created_at) * 86400.0 - priority * ?, sequence""",  # noqa: S608
        (*values, ageing_s),
    )
    options = _OptionSetReader(connection, None if names is None else set(names), reserved)
    waiting = []
    for row in rows:
        # Reservations do not apply to jobs that the controller itself submits.
        owner = row[4] if row[10] == "" else None
        devices, min_sandbox = options.read(row[11], owner)
        if names is not None and not options.worth_looking(row[11], devices):
            continue
        waiting.append(
            WaitingJob(
                job_id=row[0],
                sequence=row[1],
                priority=row[2],
                devices=devices,
                device_set=row[11] if owner is not None else f"{row[11]} {row[10]}",
                created_ns=parse_iso(row[3]),
                owner=row[4],
                paused=row[5] is not None,
                tries_left=bool(row[6]),
                cool_down_ns=int(row[7] * NS_PER_S),
                interleave_group=row[8],
                interleave_index=row[9],
                health_check=row[10] == HEALTH_CHECK,
                min_sandbox=min_sandbox,
            )
        )
    return waiting


class _OptionSetReader:
    """Reader of the options of jobs: jobs that share a set are read and ranked once.

    With `names`, only these devices are included, and a reserved device only for jobs of the
    reservation's holder.
    """

    def __init__(
        self, connection: sqlite3.Connection, names: set[str] | None, reserved: Mapping[str, str]
    ) -> None:
        self._connection = connection
        self._names = names
        self._reserved = {} if names is None else reserved
        self._sets: dict[str, tuple[dict[str, str], str]] = {}
        self._free_to: dict[tuple[str, str], dict[str, str]] = {}
        self._looked: Counter[str] = Counter()

    def read(self, option_set_id: str, owner: str | None) -> tuple[dict[str, str], str]:
        """Return the digest of the lockfile per device, and the highest required sandbox level.

        `owner` is the operator who submitted the job; None: reservations do not apply.
        """
        found = self._sets.get(option_set_id)
        if found is None:
            found = self._sets[option_set_id] = self._read(option_set_id)
        devices, min_sandbox = found
        if owner is None or self._reserved.keys().isdisjoint(devices):
            return found
        key = (option_set_id, owner)
        if key not in self._free_to:
            self._free_to[key] = {
                device: lock
                for device, lock in devices.items()
                if self._reserved.get(device, owner) == owner
            }
        return self._free_to[key], min_sandbox

    def worth_looking(self, option_set_id: str, devices: Mapping[str, str]) -> bool:
        """Return whether the next job of this set may get a device in this round, and count it.

        Callers must ask in the order in which jobs get devices.
        """
        if not devices:
            return False
        key = next(iter(devices)) if len(devices) == 1 else option_set_id
        self._looked[key] += 1
        return self._looked[key] < _LOOK_AT + len(devices)

    def _read(self, option_set_id: str) -> tuple[dict[str, str], str]:
        rows = self._connection.execute(
            "SELECT device_id, lock_sha256, min_sandbox FROM job_option WHERE option_set_id = ?",
            (option_set_id,),
        ).fetchall()
        names = self._names
        devices = {row[0]: row[1] for row in rows if names is None or row[0] in names}
        return devices, max((row[2] for row in rows), default="")


def _devices(
    connection: sqlite3.Connection, seen: Mapping[str, PresenceSnapshot], names: list[str] | None
) -> dict[str, DeviceState]:
    marks = "" if names is None else f"AND device_id IN ({','.join('?' * len(names))})"
    rows = connection.execute(
        f"""SELECT device.device_id, device.name, drained_at, coalesce(drain_reason, ''),
        coalesce(reserved_for, ''), coalesce(reserved_until, ''), coalesce(failures, 0),
        (SELECT job_id FROM attempt WHERE attempt.device_id = device.device_id
            AND state IN ('OFFERED', 'PREPARING', 'RUNNING', 'UPLOADING')
            AND exported_at IS NULL
            ORDER BY epoch DESC LIMIT 1),
        (SELECT group_concat(lock_sha256, ',') FROM device_cached_lock
            WHERE device_cached_lock.device_id = device.device_id),
        coalesce(json_extract(capabilities, '$.sandbox.level'), '')
        FROM device LEFT JOIN device_admin USING (device_id)
        WHERE NOT EXISTS (SELECT 1 FROM identity
            WHERE identity_id = device.device_id AND state = 'removed')
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


def _interleave_groups(
    connection: sqlite3.Connection, waiting: Iterable[WaitingJob]
) -> dict[str, InterleaveGroup]:
    found: dict[str, InterleaveGroup] = {}
    for name in {job.interleave_group for job in waiting if job.interleave_group}:
        # The device of the group's newest attempt is kept unless the next job cannot run there.
        row = connection.execute(
            _GROUP,
            (name,),
        ).fetchone()
        fits = (
            row["next"] is None
            or connection.execute(
                f"SELECT 1 FROM {OPTIONS} WHERE job_id = ? AND device_id = ?",  # noqa: S608
                (row["next"], row["device_id"]),
            ).fetchone()
        )
        found[name] = InterleaveGroup(row["device_id"] or "" if fits else "", bool(row["active"]))
    return found


def _blobs(
    connection: sqlite3.Connection,
    waiting: Iterable[WaitingJob],
    devices: Mapping[str, DeviceState],
) -> dict[str, Mapping[str, int]]:
    candidate_devices = {
        lock for job in waiting if len(job.devices) > 1 for lock in job.devices.values()
    }
    candidate_devices.update(lock for device in devices.values() for lock in device.locks)
    found: dict[str, Mapping[str, int]] = {}
    for lock in candidate_devices:
        row = connection.execute(
            "SELECT content FROM lock WHERE lock_sha256 = ?", (lock,)
        ).fetchone()
        if row is not None:
            found[lock] = _blobs_of(bytes(row[0]))
    return found


@lru_cache(maxsize=4096)
def _blobs_of(content: bytes) -> Mapping[str, int]:
    """Return the size in bytes of each blob of a lockfile, by digest; empty if it is unreadable."""
    try:
        return {blob.sha256: blob.size_bytes for blob in parse_lockfile(content).blobs()}
    except FleetmarkError:
        return {}


def record_blobs_delivered(
    connection: sqlite3.Connection, now_ns: int, device_id: str, job_id: str
) -> None:
    """Record that a device has all blobs of a job, because the job's run has begun there.

    Only the 100 newest lockfiles per device are kept.
    """
    connection.execute(
        f"""INSERT INTO device_cached_lock SELECT device_id, lock_sha256, ? FROM {OPTIONS}
        WHERE job_id = ? AND device_id = ?
        ON CONFLICT (device_id, lock_sha256) DO UPDATE SET at = excluded.at""",  # noqa: S608
        (iso(now_ns), job_id, device_id),
    )
    connection.execute(
        """DELETE FROM device_cached_lock WHERE device_id = ?1 AND lock_sha256 NOT IN (
            SELECT lock_sha256 FROM device_cached_lock WHERE device_id = ?1
            ORDER BY at DESC LIMIT 100)""",
        (device_id,),
    )
