"""The store's own facts: controller id, generation, the epoch counter."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fleetmark_controller.store.db.connection import connect

GENERATION_SHIFT = 32
"""Epoch = generation << 32 | n."""


def get(connection: sqlite3.Connection, key: str) -> str | None:
    """A value, or None."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def put(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Set a value."""
    connection.execute(
        "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def generation(connection: sqlite3.Connection) -> int:
    """The generation of the last epoch that was given out; 0 in a fresh store."""
    return int(get(connection, "last_epoch") or 0) >> GENERATION_SHIFT


def stored_generation(path: Path) -> int:
    """The generation of the store at `path`, which was migrated.

    Raises:
        FleetmarkError: STORE_UNUSABLE.
    """
    connection = connect(path, read_only=True)
    try:
        return generation(connection)
    finally:
        connection.close()


def begin(connection: sqlite3.Connection, controller_id: str, new_generation: int) -> str:
    """A controller starts on this store; returns the store's controller id.

    Every start is a new generation: the store may be an older copy, and what was given out after
    it was made must never be given out again.
    """
    if get(connection, "controller_id") is None:
        put(connection, "controller_id", controller_id)
    put(connection, "last_epoch", str(new_generation << GENERATION_SHIFT))
    return get(connection, "controller_id") or controller_id


def next_epoch(connection: sqlite3.Connection) -> int:
    """Raise the epoch. Only an assignment does this."""
    epoch = int(get(connection, "last_epoch") or 0) + 1
    put(connection, "last_epoch", str(epoch))
    return epoch


def saw_epoch(connection: sqlite3.Connection, epoch: int) -> bool:
    """A device has seen `epoch`. If this store never gave it out, begin a new generation.

    That happens after an older copy of the store was restored; True if it did.
    """
    if epoch == 0 or epoch <= int(get(connection, "last_epoch") or 0):
        return False
    put(connection, "last_epoch", str(((epoch >> GENERATION_SHIFT) + 1) << GENERATION_SHIFT))
    return True
