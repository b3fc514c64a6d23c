"""The event log: what happened to devices, jobs and attempts, in order."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from fleetmark_core.clock import NS_PER_S, iso

MOST_AN_HOUR = 60
"""Rows that one device may cause of each kind of `BY_DEVICES`."""
BY_DEVICES = "'device.connected', 'device.capabilities', 'alarm.record_differs', 'alarm.generation'"
"""Kinds of events that devices cause without having been given a job; indexed by migration 13."""
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
    """Append an event of `BY_DEVICES`, which a device can cause as often as it likes.

    From the 60th in an hour on, the newest row counts the others instead (`repeated` and
    `repeated_at` of its detail): a device must not fill the store with events.
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
    """A job's events in one line, for messages about what should not have happened."""
    rows = connection.execute(
        "SELECT at, kind, epoch, detail FROM event WHERE job_id = ? ORDER BY event_id", (job_id,)
    )
    return "; ".join(f"{at} {kind} {epoch or ''} {detail}" for at, kind, epoch, detail in rows)
