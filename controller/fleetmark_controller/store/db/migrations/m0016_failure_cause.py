"""Attempts have the cause of their failure; official runs are found by their lockfile."""

from __future__ import annotations

from sqlite_utils.db import Database

_STATEMENTS = (
    "ALTER TABLE attempt ADD COLUMN failure_cause TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX run_by_lockfile ON run (lock_sha256) WHERE official = 1",
)


def apply(db: Database) -> None:
    """Add the column and the index."""
    for statement in _STATEMENTS:
        db.conn.execute(statement)
