"""The event log: what happened to devices, jobs and attempts, in order."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from fleetmark_core.clock import iso


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


def history(connection: sqlite3.Connection, job_id: str) -> str:
    """A job's events in one line, for messages about what should not have happened."""
    rows = connection.execute(
        "SELECT at, kind, epoch, detail FROM event WHERE job_id = ? ORDER BY event_id", (job_id,)
    )
    return "; ".join(f"{at} {kind} {epoch or ''} {detail}" for at, kind, epoch, detail in rows)
