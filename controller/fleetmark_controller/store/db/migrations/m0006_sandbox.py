"""The sandbox of jobs: the weakest permitted level, and the level of each run."""

from __future__ import annotations

from sqlite_utils import Database


def apply(db: Database) -> None:
    """Add the column of the permitted level, and append the level to the current view of runs."""
    db.conn.execute("ALTER TABLE job_option ADD COLUMN min_sandbox TEXT NOT NULL DEFAULT ''")
    (old,) = db.conn.execute("SELECT sql FROM sqlite_master WHERE name = 'runs'").fetchone()
    before, _, after = old.partition(" FROM run JOIN job USING (job_id)")
    level = "json_extract(provenance, '$.sandbox') AS sandbox"
    db.conn.execute("DROP VIEW runs")
    db.conn.execute(f"{before}, {level} FROM run JOIN job USING (job_id){after}")
