"""Indexes for large fleets, and one option set shared by all jobs with the same options.

Each hello, each second and each finished job causes lookups, whose time must not grow with the
number of jobs ever stored. Before this migration, each of thousands of jobs that any of a thousand
devices could run had a row of its own per device.
"""

from __future__ import annotations

from sqlite_utils import Database

_COLUMNS = """device_id, lock_sha256, lock_bytes, bundle_bytes, memory_bytes, environment_bytes,
    output_bytes, min_sandbox"""

_STATEMENTS = (
    "CREATE INDEX job_by_device ON job (device_id, state)",
    "CREATE INDEX job_by_deadline ON job (deadline_at) WHERE state IN ('QUEUED', 'ACTIVE')",
    """CREATE INDEX job_open ON job (campaign_id)
        WHERE state IN ('QUEUED', 'ACTIVE', 'CANCELLING')""",
    """CREATE TABLE option_row (
        option_set TEXT NOT NULL, device_id TEXT NOT NULL REFERENCES device,
        lock_sha256 TEXT NOT NULL REFERENCES lock, lock_bytes INTEGER NOT NULL,
        bundle_bytes INTEGER NOT NULL, memory_bytes INTEGER NOT NULL DEFAULT 0,
        environment_bytes INTEGER NOT NULL DEFAULT 0, output_bytes INTEGER NOT NULL DEFAULT 0,
        min_sandbox TEXT NOT NULL DEFAULT '', PRIMARY KEY (option_set, device_id)) WITHOUT ROWID""",
    f"INSERT INTO option_row SELECT job_id, {_COLUMNS} FROM job_option",  # noqa: S608
    "DROP TABLE job_option",
    "ALTER TABLE job ADD COLUMN option_set TEXT NOT NULL DEFAULT ''",
    "UPDATE job SET option_set = job_id",
    "CREATE INDEX job_by_options ON job (option_set)",
)


def apply(db: Database) -> None:
    """Create the indexes, and move the options into shared sets."""
    for statement in _STATEMENTS:
        db.conn.execute(statement)
