"""What a job needs of each board that may run it, predicted when it was planned."""

from __future__ import annotations

from sqlite_utils import Database


def apply(db: Database) -> None:
    """Three figures beside the size of the bundle; 0 where nothing was predicted."""
    for name in ("memory_bytes", "environment_bytes", "output_bytes"):
        db.conn.execute(f"ALTER TABLE job_option ADD COLUMN {name} INTEGER NOT NULL DEFAULT 0")
