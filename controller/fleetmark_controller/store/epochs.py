"""Metadata of the store: the controller id, the generation and the epoch counter."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fleetmark_controller.store.db.connection import connect

GENERATION_SHIFT = 32
"""Number of bits to the right of the generation: epoch = generation << 32 | n."""


def get(connection: sqlite3.Connection, key: str) -> str | None:
    """Return the value of a key; None if it is not set."""
    row = connection.execute("SELECT value FROM key_value WHERE key = ?", (key,)).fetchone()
    return None if row is None else str(row[0])


def put(connection: sqlite3.Connection, key: str, value: str) -> None:
    """Set the value of a key."""
    connection.execute(
        "INSERT INTO key_value VALUES (?, ?)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )


def generation(connection: sqlite3.Connection) -> int:
    """Return the generation of the last issued epoch; 0 in a new store."""
    return int(get(connection, "last_epoch") or 0) >> GENERATION_SHIFT


def stored_generation(path: Path) -> int:
    """Return the generation of the store at `path`, which must have been migrated.

    Raises:
        FleetmarkError: STORE_UNUSABLE.
    """
    connection = connect(path, read_only=True)
    try:
        return generation(connection)
    finally:
        connection.close()


def start_generation(
    connection: sqlite3.Connection, controller_id: str, new_generation: int
) -> str:
    """Begin a new generation when a controller starts, and return the store's controller id.

    The store may have been restored from an older copy. The new generation ensures that epochs
    issued after that copy was made are never issued again.
    """
    if get(connection, "controller_id") is None:
        put(connection, "controller_id", controller_id)
    put(connection, "last_epoch", str(new_generation << GENERATION_SHIFT))
    return get(connection, "controller_id") or controller_id


def next_epoch(connection: sqlite3.Connection) -> int:
    """Return the next epoch. Only a dispatch may call this."""
    epoch = int(get(connection, "last_epoch") or 0) + 1
    put(connection, "last_epoch", str(epoch))
    return epoch


def observe_epoch(connection: sqlite3.Connection, epoch: int) -> bool:
    """Begin a new generation if a device has seen an epoch that this store never issued.

    That happens after an older copy of the store was restored.

    Returns:
        Whether a new generation began.
    """
    if epoch == 0 or epoch <= int(get(connection, "last_epoch") or 0):
        return False
    put(connection, "last_epoch", str(((epoch >> GENERATION_SHIFT) + 1) << GENERATION_SHIFT))
    return True
