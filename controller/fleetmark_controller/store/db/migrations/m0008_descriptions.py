"""Fields that operators set for MLPerf's system description of a device."""

from __future__ import annotations

from sqlite_utils import Database


def apply(db: Database) -> None:
    """Add the table."""
    db.conn.execute(
        """CREATE TABLE device_description (
            device_id TEXT NOT NULL REFERENCES device, field TEXT NOT NULL, value TEXT NOT NULL,
            PRIMARY KEY (device_id, field)) WITHOUT ROWID"""
    )
