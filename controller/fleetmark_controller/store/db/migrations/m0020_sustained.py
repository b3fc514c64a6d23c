"""Figures of the steady state of sustained runs: columns of runs and results."""

from __future__ import annotations

from sqlite_utils.db import Database

from fleetmark_controller.store.db.migrations.view_columns import append_columns

_COLUMNS = ("steady_start_s", "steady_throughput_samples_per_s", "steady_latency_mean_ms")


def apply(db: Database) -> None:
    """Add the columns to table run and to both views of runs."""
    for name in _COLUMNS:
        db.conn.execute(f"ALTER TABLE run ADD COLUMN {name} REAL")
    append_columns(db, {"runs": _COLUMNS, "results": _COLUMNS})
