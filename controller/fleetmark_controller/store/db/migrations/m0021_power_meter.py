"""Energy from external power meters: its uncertainty, and how it was measured."""

from __future__ import annotations

from sqlite_utils.db import Database

from fleetmark_controller.store.db.migrations.view_columns import append_columns


def apply(db: Database) -> None:
    """Add the columns to table run and to the views of runs."""
    db.conn.execute("ALTER TABLE run ADD COLUMN energy_uncertainty_j REAL")
    db.conn.execute("ALTER TABLE run ADD COLUMN energy_meter TEXT")
    append_columns(
        db,
        {"runs": ("energy_uncertainty_j", "energy_meter"), "results": ("energy_uncertainty_j",)},
    )
