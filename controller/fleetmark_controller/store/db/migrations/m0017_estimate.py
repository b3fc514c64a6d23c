"""Runs say why their figures are only an estimate."""

from __future__ import annotations

from sqlite_utils.db import Database

from fleetmark_controller.store.db.migrations.view_columns import append_columns


def apply(db: Database) -> None:
    """Add the column to table run and to both views of runs."""
    db.conn.execute("ALTER TABLE run ADD COLUMN estimate_reason TEXT")
    append_columns(db, dict.fromkeys(("runs", "results"), ("estimate_reason",)))
