"""Predicted needs of a job on each device that may run it."""

from __future__ import annotations

from sqlite_utils import Database


def apply(db: Database) -> None:
    """Add three predicted sizes in bytes; 0 means that nothing was predicted."""
    for name in ("memory_bytes", "environment_bytes", "output_bytes"):
        db.conn.execute(f"ALTER TABLE job_option ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0")
