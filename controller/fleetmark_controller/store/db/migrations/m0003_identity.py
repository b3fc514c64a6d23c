"""Enrollment tokens, identities of devices and operators, the audit log; attempts by device."""

from __future__ import annotations

from sqlite_utils import Database

_TABLES = (
    # The secret itself is not stored. Its 160 random bits need no salt.
    """CREATE TABLE token (
        token_id TEXT PRIMARY KEY, secret_sha256 TEXT NOT NULL, labels TEXT NOT NULL,
        approve INTEGER NOT NULL, uses INTEGER NOT NULL, used INTEGER NOT NULL DEFAULT 0,
        created_at TEXT NOT NULL, created_by TEXT NOT NULL, expires_ns INTEGER NOT NULL,
        revoked_at TEXT) WITHOUT ROWID""",
    """CREATE TABLE identity (
        identity_id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, role TEXT,
        key_sha256 TEXT NOT NULL UNIQUE, state TEXT NOT NULL, labels TEXT NOT NULL,
        token_id TEXT, created_at TEXT NOT NULL, approved_at TEXT, ended_at TEXT)""",
    "CREATE UNIQUE INDEX identity_name ON identity (kind, name) WHERE state <> 'removed'",
    """CREATE TABLE audit (
        seq INTEGER PRIMARY KEY, at TEXT NOT NULL, who TEXT NOT NULL, act TEXT NOT NULL,
        subject TEXT NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL,
        hash TEXT NOT NULL)""",
    "CREATE INDEX attempt_by_device ON attempt (device_id, epoch)",
)


def apply(db: Database) -> None:
    """Create the tables."""
    for statement in _TABLES:
        db.conn.execute(statement)
