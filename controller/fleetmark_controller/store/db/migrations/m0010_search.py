"""Results of find-performance runs, with every test of the search."""

from __future__ import annotations

from sqlite_utils import Database


def apply(db: Database) -> None:
    """Add a column of JSON, and append it to the current definition of the view of runs."""
    db.conn.execute("ALTER TABLE run ADD COLUMN search TEXT")
    (old,) = db.conn.execute("SELECT sql FROM sqlite_master WHERE name = 'runs'").fetchone()
    before, _, after = old.partition(" FROM run JOIN job USING (job_id)")
    db.conn.execute("DROP VIEW runs")
    db.conn.execute(f"{before}, run.search AS search FROM run JOIN job USING (job_id){after}")
