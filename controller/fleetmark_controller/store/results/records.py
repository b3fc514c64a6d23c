"""Records of attempts: inserted or ignored, and acknowledged only up to the first gap."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from fleetmark_controller.store import events
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_core.clock import iso
from fleetmark_core.records import Record


def count(connection: sqlite3.Connection, key: AttemptKey) -> int:
    """Return how many records of an attempt are stored."""
    row = connection.execute(
        "SELECT count(*) FROM record WHERE job_id = ? AND epoch = ?", (key.job_id, key.epoch)
    ).fetchone()
    return int(row[0])


def insert(
    connection: sqlite3.Connection, now_ns: int, key: AttemptKey, records: Iterable[Record]
) -> int:
    """Store records of an attempt that exists, and return the highest contiguous seq.

    The first record under a key is kept. A different payload under the same key logs an alarm event
    and changes nothing.
    """
    for record in records:
        inserted = connection.execute(
            "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (
                key.job_id,
                key.epoch,
                record.seq,
                record.kind,
                record.payload,
                record.sha256,
                iso(now_ns),
            ),
        ).rowcount
        if not inserted and _stored_digest(connection, key, record.seq) != record.sha256:
            events.add_from_device(
                connection, now_ns, "alarm.record_differs", **key._asdict(), seq=record.seq
            )
        if inserted and record.kind == "final":
            connection.execute(
                "UPDATE attempt SET final_seq = ? WHERE job_id = ? AND epoch = ? AND device_id = ?"
                " AND final_seq IS NULL",
                (record.seq, key.job_id, key.epoch, key.device_id),
            )
    through = _contiguous(connection, key)
    connection.execute(
        "UPDATE attempt SET through_seq = ? WHERE job_id = ? AND epoch = ? AND device_id = ?",
        (through, key.job_id, key.epoch, key.device_id),
    )
    return through


def list_for_attempt(connection: sqlite3.Connection, key: AttemptKey) -> list[Record]:
    """Return all records of an attempt, by seq."""
    rows = connection.execute(
        "SELECT seq, kind, payload FROM record WHERE job_id = ? AND epoch = ? ORDER BY seq",
        (key.job_id, key.epoch),
    )
    return [Record(row[0], row[1], bytes(row[2])) for row in rows]


def payloads(connection: sqlite3.Connection, key: AttemptKey, kind: str) -> list[dict[str, Any]]:
    """Return the JSON payloads of an attempt's records of one kind, by seq."""
    return [
        json.loads(record.payload)
        for record in list_for_attempt(connection, key)
        if record.kind == kind
    ]


def _contiguous(connection: sqlite3.Connection, key: AttemptKey) -> int:
    # Starting from the previous contiguous seq costs O(new records) instead of O(all records).
    row = connection.execute(
        "SELECT through_seq FROM attempt WHERE job_id = ? AND epoch = ?", (key.job_id, key.epoch)
    ).fetchone()
    through = int(row[0])
    rows = connection.execute(
        "SELECT seq FROM record WHERE job_id = ? AND epoch = ? AND seq > ? ORDER BY seq",
        (key.job_id, key.epoch, through),
    )
    for (seq,) in rows:
        if seq != through + 1:
            break
        through = seq
    return through


def _stored_digest(connection: sqlite3.Connection, key: AttemptKey, seq: int) -> str:
    row = connection.execute(
        "SELECT sha256 FROM record WHERE job_id = ? AND epoch = ? AND seq = ?",
        (key.job_id, key.epoch, seq),
    ).fetchone()
    return str(row[0])
