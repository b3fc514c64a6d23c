"""Fleets with partial failures: administrative state, saved fleets, pauses, turns, retries."""

from __future__ import annotations

from sqlite_utils import Database

_STATEMENTS = (
    # Decisions of operators and the controller about a device; facts that the device reports are in
    # `device`.
    """CREATE TABLE device_care (
        device_id TEXT PRIMARY KEY REFERENCES device, name TEXT,
        drained_at TEXT, drain_reason TEXT NOT NULL DEFAULT '',
        reserved_for TEXT NOT NULL DEFAULT '', reserved_until TEXT NOT NULL DEFAULT '',
        failures INTEGER NOT NULL DEFAULT 0, failed_job TEXT NOT NULL DEFAULT '',
        last_failure TEXT NOT NULL DEFAULT '',
        check_campaign TEXT NOT NULL DEFAULT '', checked_at TEXT NOT NULL DEFAULT ''
        ) WITHOUT ROWID""",
    # Labels that operators set; they override the agent's. NULL means that the label was removed.
    """CREATE TABLE device_label (
        device_id TEXT NOT NULL REFERENCES device, key TEXT NOT NULL, value TEXT,
        PRIMARY KEY (device_id, key)) WITHOUT ROWID""",
    """CREATE TABLE device_history (
        device_id TEXT NOT NULL REFERENCES device, at TEXT NOT NULL, capabilities TEXT NOT NULL,
        PRIMARY KEY (device_id, at)) WITHOUT ROWID""",
    # Lockfiles whose blobs a device received, so that jobs can be placed where no transfer is
    # needed.
    """CREATE TABLE device_lock (
        device_id TEXT NOT NULL REFERENCES device, lock_sha256 TEXT NOT NULL REFERENCES lock,
        at TEXT NOT NULL, PRIMARY KEY (device_id, lock_sha256)) WITHOUT ROWID""",
    """CREATE TABLE saved_fleet (
        name TEXT PRIMARY KEY, selector TEXT NOT NULL, saved_at TEXT NOT NULL) WITHOUT ROWID""",
    "ALTER TABLE campaign ADD COLUMN paused_at TEXT",
    "ALTER TABLE campaign ADD COLUMN submitted_by TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE campaign ADD COLUMN purpose TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE campaign ADD COLUMN cool_down_s REAL NOT NULL DEFAULT 0",
    "ALTER TABLE job ADD COLUMN series TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE job ADD COLUMN turn INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE job ADD COLUMN retried_as TEXT REFERENCES job",
    "ALTER TABLE job ADD COLUMN expected_s REAL",
    "CREATE INDEX job_by_configuration ON job (configuration_key)",
    "CREATE INDEX job_in_series ON job (series, turn) WHERE series <> ''",
    # Public views: `devices` without removed devices, and the new columns of the others.
    "DROP VIEW devices",
    """CREATE VIEW devices AS SELECT device_id, name, labels, capabilities,
        json_extract(capabilities, '$.arch') AS arch,
        json_extract(capabilities, '$.os.name') || ' '
            || json_extract(capabilities, '$.os.version') AS os,
        json_extract(capabilities, '$.board.model') AS board,
        agent_version, registered_at, last_seen_at
        FROM device WHERE device_id NOT IN
            (SELECT identity_id FROM identity WHERE state = 'removed')""",
    "DROP VIEW campaigns",
    """CREATE VIEW campaigns AS SELECT campaign_id, benchmark, selector, profile, created_at,
        finished_at, (SELECT count(*) FROM job WHERE job.campaign_id = campaign.campaign_id)
        AS jobs, paused_at, submitted_by FROM campaign""",
    "DROP VIEW jobs",
    """CREATE VIEW jobs AS SELECT job_id, campaign_id, label AS configuration, repetition, state,
        reason, priority, attempts, max_attempts,
        (SELECT name FROM device WHERE device.device_id = job.device_id) AS device,
        run_id, created_at, deadline_at, finished_at, retried_as FROM job""",
)


def apply(db: Database) -> None:
    """Add the tables and columns, and recreate the views that show them."""
    for statement in _STATEMENTS:
        db.conn.execute(statement)
