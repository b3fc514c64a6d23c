"""Copies the store while it is in use."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fleetmark_controller.store.db.connection import connect
from fleetmark_core.lockfile import parse_lock


def copy_store(source: Path, target: Path) -> None:
    """A consistent copy of the store at `source`, whole at `target` or not there.

    Raises:
        FleetmarkError: STORE_UNUSABLE: `source` cannot be read.
        sqlite3.Error: `target` cannot be written.
    """
    partial = target.with_suffix(".partial")
    reading = connect(source, read_only=True)
    try:
        writing = sqlite3.connect(partial)
        try:
            reading.backup(writing)
            # One file that can be copied as it is; the controller turns WAL on again.
            writing.execute("PRAGMA journal_mode = DELETE")
        finally:
            writing.close()
    finally:
        reading.close()
    partial.replace(target)


def wanted_blobs(store: Path) -> list[str]:
    """Digests of the blobs that runs and records name, and that unfinished jobs need to run."""
    connection = connect(store, read_only=True)
    try:
        rows = connection.execute(
            "SELECT sha256 FROM run_file UNION SELECT samples_sha256 FROM run"
            " WHERE samples_sha256 IS NOT NULL UNION SELECT lock_sha256 FROM lock"
            " UNION SELECT json_extract(CAST(payload AS TEXT), '$.sha256') FROM record"
            " WHERE kind = 'file'"
        )
        wanted = dict.fromkeys(str(row[0]) for row in rows)
        locks = connection.execute(
            "SELECT DISTINCT content FROM lock JOIN option_row USING (lock_sha256)"
            " JOIN job USING (option_set) WHERE finished_at IS NULL"
        )
        for (content,) in locks:
            wanted.update(dict.fromkeys(b.sha256 for b in parse_lock(bytes(content)).blobs()))
        return list(wanted)
    finally:
        connection.close()
