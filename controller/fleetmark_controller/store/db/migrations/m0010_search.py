"""What runs in mode find-performance found, with every test that they made."""

from __future__ import annotations

from sqlite_utils import Database


def apply(db: Database) -> None:
    """A column of JSON, and the same in the view of runs, whatever that has by now."""
    db.conn.execute("ALTER TABLE run ADD COLUMN search TEXT")
    (old,) = db.conn.execute("SELECT sql FROM sqlite_master WHERE name = 'runs'").fetchone()
    before, _, after = old.partition(" FROM run JOIN job USING (job_id)")
    db.conn.execute("DROP VIEW runs")
    db.conn.execute(f"{before}, run.search AS search FROM run JOIN job USING (job_id){after}")
