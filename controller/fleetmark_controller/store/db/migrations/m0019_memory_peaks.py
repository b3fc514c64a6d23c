"""Peaks of the memory of runs, by which the memory of later jobs is predicted."""

from __future__ import annotations

from sqlite_utils.db import Database

_STATEMENTS = (
    """CREATE TABLE memory_peak (
        memory_peak_id INTEGER PRIMARY KEY, lock_sha256 TEXT NOT NULL, arch TEXT NOT NULL,
        cores INTEGER NOT NULL, run TEXT NOT NULL, killed INTEGER NOT NULL,
        peak_bytes INTEGER NOT NULL)""",
    """CREATE INDEX memory_peak_by_run
        ON memory_peak (lock_sha256, arch, cores, run, killed, peak_bytes)""",
    # The runs that are stored already. Their provenance has the order and the capabilities.
    """INSERT INTO memory_peak (lock_sha256, arch, cores, run, killed, peak_bytes)
        SELECT lock_sha256, arch, provenance ->> '$.capabilities.cpu.usable_cores' AS cores,
            json_object('mode', mode,
                'parameters', json(coalesce(provenance -> '$.order.parameters', parameters)),
                'profile', profile, 'scenario', scenario) AS asked, 0, max(peak_memory_bytes)
        FROM run WHERE peak_memory_bytes > 0
            AND json_type(provenance, '$.capabilities.cpu.usable_cores') = 'integer'
        GROUP BY lock_sha256, arch, cores, asked""",
)


def apply(db: Database) -> None:
    """Create the table and its index, and fill it from the stored runs."""
    for statement in _STATEMENTS:
        db.conn.execute(statement)
