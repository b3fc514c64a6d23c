"""Filtered rows of the public views."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator

VIEWS = ("devices", "campaigns", "jobs", "attempts", "runs", "results", "telemetry", "events")

_TIME = {
    "devices": "registered_at",
    "campaigns": "created_at",
    "jobs": "created_at",
    "attempts": "created_at",
    "runs": "started_at",
    "results": "started_at",
    "events": "at",
}
_DEVICE = {"devices": "name"}
_ORDER = {
    "devices": "name",
    "campaigns": "created_at",
    "jobs": "job_id",
    "attempts": "job_id, epoch",
    "runs": "run_id",
    "results": "device, benchmark, model, precision, runtime, scenario, repetition",
    "telemetry": "run_id, elapsed_ms",
    "events": "event_id",
}
Value = int | float | str | bytes | None


def run(connection: sqlite3.Connection, run_id: str) -> tuple[list[str], tuple[Value, ...]]:
    """Return the columns of view `runs` and the row of one run, which must be stored."""
    cursor = connection.execute("SELECT * FROM runs WHERE run_id = ?", (run_id,))
    columns = [column[0] for column in cursor.description]
    return columns, tuple(cursor.fetchone())


def select(
    connection: sqlite3.Connection,
    view: str,
    *,
    campaign_id: str = "",
    devices: Collection[str] | None = None,
    since: str = "",
    samples: bool = False,
) -> tuple[list[str], Iterator[tuple[Value, ...]]]:
    """Return the columns and rows of a view, in a stable order.

    Args:
        connection: Connection in a read transaction.
        view: One of `VIEWS`.
        campaign_id: Campaign to include; empty means all.
        devices: Names of devices to include; None means all.
        since: ISO 8601 time; earlier rows are left out.
        samples: Add the column samples_sha256 to the view `runs`.

    Raises:
        KeyError: there is no such view.
    """
    if view not in VIEWS:
        raise KeyError(view)
    conditions: list[str] = []
    values: list[str] = []
    if campaign_id and view != "devices":
        conditions.append("campaign_id = ?")
        values.append(campaign_id)
    if devices is not None and view != "campaigns":
        conditions.append(f"{_DEVICE.get(view, 'device')} IN ({','.join('?' * len(devices))})")
        values.extend(devices)
    if since and view in _TIME:
        conditions.append(f"{_TIME[view]} >= ?")
        values.append(since)
    extra = ", (SELECT samples_sha256 FROM run WHERE run.run_id = runs.run_id) AS samples_sha256"
    cursor = connection.execute(
        f"SELECT *{extra if samples and view == 'runs' else ''} FROM {view}"  # noqa: S608
        f"{' WHERE ' + ' AND '.join(conditions) if conditions else ''} ORDER BY {_ORDER[view]}",
        values,
    )
    columns = [column[0] for column in cursor.description]
    return columns, (tuple(row) for row in cursor)
