"""Signed releases, and lockfiles that wait for the next one."""

from __future__ import annotations

from sqlite_utils import Database

_STATEMENTS = (
    """CREATE TABLE release (
        serial INTEGER PRIMARY KEY, release_sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        key_sha256 TEXT NOT NULL, made_at TEXT NOT NULL, expires_at TEXT NOT NULL,
        installed_at TEXT NOT NULL)""",
    # Entries that no release contains yet; jobs with such a lockfile wait.
    """CREATE TABLE unsigned_lock (
        lock_sha256 TEXT PRIMARY KEY REFERENCES lock, reason TEXT NOT NULL) WITHOUT ROWID""",
    # Orders exported in a bundle file for a device without network; silence about them is expected.
    "ALTER TABLE attempt ADD COLUMN exported_at TEXT",
)


def apply(db: Database) -> None:
    """Add the tables and the column."""
    for statement in _STATEMENTS:
        db.conn.execute(statement)
