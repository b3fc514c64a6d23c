"""The audit log: actions and refusals with their actors, each row chained to the previous one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from typing import Any

from fleetmark_controller.identity.audit_chain import FIRST, Row
from fleetmark_controller.store import epochs
from fleetmark_core.clock import iso

_HEAD = "audit_head"
_MOST = 200
DONE, REFUSED = "done", "refused"


def add(
    connection: sqlite3.Connection,
    now_ns: int,
    who: str,
    act: str,
    subject: str = "",
    *,
    outcome: str = DONE,
    **detail: Any,
) -> None:
    """Append a row, in the same transaction as the action itself."""
    seq, before = head(connection)
    row = Row(
        seq + 1,
        iso(now_ns),
        who[:_MOST],
        act[:_MOST],
        subject[:_MOST],
        outcome,
        json.dumps(detail, ensure_ascii=False, sort_keys=True),
    )
    sealed = row.sealed(before)
    connection.execute(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (row.seq, row.at, row.actor, row.action, row.subject, row.outcome, row.detail, sealed),
    )
    epochs.put(connection, _HEAD, f"{row.seq} {sealed}")


def head(connection: sqlite3.Connection) -> tuple[int, str]:
    """Return the number and hash of the last row."""
    stored = epochs.get(connection, _HEAD)
    if stored is None:
        return 0, FIRST
    seq, sealed = stored.split(" ")
    return int(seq), sealed


def rows(connection: sqlite3.Connection, after: int = 0) -> Iterator[Row]:
    """Yield the rows after number `after`, in order."""
    found = connection.execute("SELECT * FROM audit WHERE seq > ? ORDER BY seq", (after,))
    for row in found:
        yield Row(*row)
