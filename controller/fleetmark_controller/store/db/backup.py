"""Copying of the store while it is in use, and the list of blobs that a backup needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from fleetmark_controller.store.db.connection import STORE_NAME, connect, is_current, migrate
from fleetmark_core.lockfile import parse_lockfile


def copy_store(source: Path, target: Path) -> None:
    """Copy the store at `source` to `target`.

    The copy is consistent. `target` is complete or does not exist.

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
            # The copy is one file that can be moved; the controller turns WAL on again.
            writing.execute("PRAGMA journal_mode = DELETE")
        finally:
            writing.close()
    finally:
        reading.close()
    partial.replace(target)


def wanted_blobs(store: Path) -> list[str]:
    """Return the digests of the blobs that a backup of the store must contain.

    These are the blobs that runs and records name, all lockfiles, and the blobs that unfinished
    jobs need to run. The store may be of an earlier version; it is not changed.

    Raises:
        FleetmarkError: STORE_UNUSABLE or DISK_FULL.
        sqlite3.Error: the store cannot be read, or no copy of an older one can be written.
    """
    with _current(store) as path:
        return _wanted_blobs(path)


@contextmanager
def _current(store: Path) -> Iterator[Path]:
    """Yield `store`, or a temporary migrated copy beside it if an earlier version wrote it."""
    if is_current(store):
        yield store
        return
    with TemporaryDirectory(dir=store.parent) as folder:
        copy = Path(folder) / STORE_NAME
        copy_store(store, copy)
        migrate(copy)
        yield copy


def _wanted_blobs(store: Path) -> list[str]:
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
            "SELECT DISTINCT content FROM lock JOIN job_option USING (lock_sha256)"
            " JOIN job USING (option_set_id) WHERE finished_at IS NULL"
        )
        for (content,) in locks:
            wanted.update(dict.fromkeys(b.sha256 for b in parse_lockfile(bytes(content)).blobs()))
        return list(wanted)
    finally:
        connection.close()
