"""Measuring conditions and energy: columns of runs, results and telemetry."""

from __future__ import annotations

from sqlite_utils import Database

_COLUMNS = {
    "interval_percent": "REAL",
    "repeat_interval_percent": "REAL",
    "energy_per_query_j": "REAL",
    "energy_per_sample_j": "REAL",
    "power_mean_w": "REAL",
    "energy_source": "TEXT",
    "energy_unavailable": "TEXT",
    "energy_official": "INTEGER",
    "temperature_start_c": "REAL",
}
# Indexes in a telemetry row; rows of older agents are shorter.
_READINGS = {"swap_bytes": 7, "swapped_bytes": 8, "throttled": 9, "power_mode": 10}


def apply(db: Database) -> None:
    """Add the columns, and append them to the current definitions of the views."""
    for name, kind in _COLUMNS.items():
        db.conn.execute(f"ALTER TABLE run ADD COLUMN {name} {kind}")
    _widen(db, "runs", " FROM run JOIN job USING (job_id)", ", ".join(_COLUMNS))
    _widen(db, "results", " FROM key", ", ".join(f"p.{name}" for name in _COLUMNS))
    readings = (
        f"json_extract(sample.value, '$[{place}]') AS {name}" for name, place in _READINGS.items()
    )
    _widen(db, "telemetry", " FROM run JOIN job USING (job_id)", ", ".join(readings))


def _widen(db: Database, view: str, before: str, more: str) -> None:
    (old,) = db.conn.execute("SELECT sql FROM sqlite_master WHERE name = ?", (view,)).fetchone()
    # Whitespace differs from how the view was first written. The last match is the view's own FROM.
    flat = " ".join(old.split())
    head, found, tail = flat.rpartition(before)
    if not found:
        raise RuntimeError(f"view {view} is not as it was made: {old}")
    db.conn.execute(f"DROP VIEW {view}")
    db.conn.execute(f"{head}, {more}{before}{tail}")
