"""The event log: what happened to devices, jobs and attempts, in order."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from fleetmark_core.clock import NS_PER_S, iso

MOST_AN_HOUR = 60
"""Maximum number of rows per hour that one device may cause, for each kind of `BY_DEVICES`."""
BY_DEVICES = "'device.connected', 'device.capabilities', 'alarm.record_differs', 'alarm.generation'"
"""Kinds of events that devices can cause without having a job; indexed by migration 13."""
_HOUR_NS = 3600 * NS_PER_S
_NEWEST = f"""SELECT {{}} FROM event WHERE device_id = ? AND kind = ? AND kind IN ({BY_DEVICES})
    ORDER BY event_id DESC LIMIT 1 OFFSET ?"""  # noqa: S608


def add(
    connection: sqlite3.Connection,
    now_ns: int,
    kind: str,
    *,
    device_id: str | None = None,
    job_id: str | None = None,
    epoch: int | None = None,
    **detail: Any,
) -> None:
    """Append one event."""
    connection.execute(
        "INSERT INTO event (at, kind, device_id, job_id, epoch, detail) VALUES (?, ?, ?, ?, ?, ?)",
        (iso(now_ns), kind, device_id, job_id, epoch, json.dumps(detail, ensure_ascii=False)),
    )


def add_from_device(
    connection: sqlite3.Connection,
    now_ns: int,
    kind: str,
    *,
    device_id: str,
    job_id: str | None = None,
    epoch: int | None = None,
    **detail: Any,
) -> None:
    """Append an event of a kind in `BY_DEVICES`, which a device can cause as often as it likes.

    After 60 events within an hour, further ones are counted in the newest row (`repeated` and
    `repeated_at` of its detail), so that a device cannot fill the store.
    """
    row = connection.execute(_NEWEST.format("at"), (device_id, kind, MOST_AN_HOUR - 1)).fetchone()
    if row is None or row[0] < iso(now_ns - _HOUR_NS):
        add(connection, now_ns, kind, device_id=device_id, job_id=job_id, epoch=epoch, **detail)
        return
    (newest,) = connection.execute(_NEWEST.format("event_id"), (device_id, kind, 0)).fetchone()
    connection.execute(
        """UPDATE event SET detail = json_set(detail, '$.repeated',
        coalesce(json_extract(detail, '$.repeated'), 0) + 1, '$.repeated_at', ?)
        WHERE event_id = ?""",
        (iso(now_ns), newest),
    )


def history(connection: sqlite3.Connection, job_id: str) -> str:
    """Return a job's events in one line, for error messages about illegal states."""
    rows = connection.execute(
        "SELECT at, kind, epoch, detail FROM event WHERE job_id = ? ORDER BY event_id", (job_id,)
    )
    return "; ".join(f"{at} {kind} {epoch or ''} {detail}" for at, kind, epoch, detail in rows)
