"""The board's condition and energy: columns of runs, of results and of telemetry."""

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
# Places in a row of telemetry; rows of older agents end before them.
_READINGS = {"swap_bytes": 7, "swapped_bytes": 8, "throttled": 9, "power_mode": 10}


def apply(db: Database) -> None:
    """Add the columns, and show them at the end of the views, whatever these have by now."""
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
    # Line ends and spaces are as they were written: the last such words are the view's own.
    flat = " ".join(old.split())
    head, found, tail = flat.rpartition(before)
    if not found:
        raise RuntimeError(f"view {view} is not as it was made: {old}")
    db.conn.execute(f"DROP VIEW {view}")
    db.conn.execute(f"{head}, {more}{before}{tail}")
