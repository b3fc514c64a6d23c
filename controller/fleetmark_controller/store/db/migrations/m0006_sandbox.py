"""The sandbox of jobs: the weakest that one may run in, and the level that each run had."""

from __future__ import annotations

from sqlite_utils import Database


def apply(db: Database) -> None:
    """A column for what is asked for, and one more in the view of runs, whatever it has by now."""
    db.conn.execute("ALTER TABLE job_option ADD COLUMN min_sandbox TEXT NOT NULL DEFAULT ''")
    (old,) = db.conn.execute("SELECT sql FROM sqlite_master WHERE name = 'runs'").fetchone()
    before, _, after = old.partition(" FROM run JOIN job USING (job_id)")
    level = "json_extract(provenance, '$.sandbox') AS sandbox"
    db.conn.execute("DROP VIEW runs")
    db.conn.execute(f"{before}, {level} FROM run JOIN job USING (job_id){after}")
