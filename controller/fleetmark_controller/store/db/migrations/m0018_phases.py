"""Runs have the phases before the measurement, the memory after loading, and operator profiles.

Views `runs` and `results` get columns at their end. Rows that are stored already have NULL in them.
"""

from __future__ import annotations

from sqlite_utils.db import Database

from fleetmark_controller.store.db.migrations.view_columns import append_columns

_PHASES = ("load_ms", "first_inference_ms", "warmup_ms", "steady_state_ms", "load_memory_bytes")
_COLUMNS = (
    *(f"{name} REAL" for name in _PHASES[:-1]),
    "load_memory_bytes INTEGER",
    "operators TEXT",
)


def apply(db: Database) -> None:
    """Add the columns, and recreate the two views with them."""
    for column in _COLUMNS:
        db.conn.execute(f"ALTER TABLE run ADD COLUMN {column}")
    append_columns(db, {"runs": (*_PHASES, "operators"), "results": _PHASES})
