"""Signed releases: which there were, and locks that wait for the next one."""

from __future__ import annotations

from sqlite_utils import Database

_STATEMENTS = (
    """CREATE TABLE release (
        serial INTEGER PRIMARY KEY, release_sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        key_sha256 TEXT NOT NULL, made_at TEXT NOT NULL, expires_at TEXT NOT NULL,
        installed_at TEXT NOT NULL)""",
    # What no release names yet; jobs with such a lock wait.
    """CREATE TABLE unsigned_lock (
        lock_sha256 TEXT PRIMARY KEY REFERENCES lock, reason TEXT NOT NULL) WITHOUT ROWID""",
    # Orders that left in a bundle for a board that is on no network: silence says nothing of it.
    "ALTER TABLE attempt ADD COLUMN exported_at TEXT",
)


def apply(db: Database) -> None:
    """Add tables and the column."""
    for statement in _STATEMENTS:
        db.conn.execute(statement)
