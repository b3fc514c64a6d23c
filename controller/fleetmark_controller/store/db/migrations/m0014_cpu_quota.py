"""View telemetry has the periods of CPU quotas, and those in which a quota was used up.

The records hold the rows as devices sent them; invalid readings become NULL, as in migration 12.
Records of older agents do not have these columns.
"""

from __future__ import annotations

from sqlite_utils import Database

# Name, minimum, maximum and whether an integer, by index in a row. Copied from evaluation.telemetry
# when this migration was written; later changes need a later migration.
_READINGS = (
    ("elapsed_ms", 0, 1e12, False),
    ("temperature_c", -80, 250, False),
    ("frequency_hz", 1, 1e12, False),
    ("cpu_percent", 0, 1e6, False),
    ("memory_bytes", 0, 1 << 50, True),
    ("foreign_cpu_percent", 0, 1e6, False),
    ("load", 0, 1e6, False),
    ("swap_bytes", 0, 1 << 50, True),
    ("swapped_bytes", 0, 10**18, True),
    ("throttled", 0, 10**12, True),
    ("power_mode", 0, 1000, True),
    ("quota_periods", 0, 10**12, True),
    ("quota_throttled", 0, 10**12, True),
)


def apply(db: Database) -> None:
    """Recreate the view with two more columns at the end."""
    shown = []
    for place, (name, low, high, whole) in enumerate(_READINGS):
        value = f"json_extract(reading, '$[{place}]')"
        kind = f"json_type(reading, '$[{place}]')"
        result = f"CAST(round({value}) AS INTEGER)" if whole else value
        shown.append(
            f"CASE WHEN {kind} IN ('integer', 'real', 'true', 'false')"
            f" AND {value} BETWEEN {low} AND {high} THEN {result} END AS {name}"
        )
    # json_each returns a list as JSON text; any other value has no readings.
    rows = """SELECT run.run_id, job.campaign_id, run.device,
        CASE WHEN sample.type = 'array' THEN sample.value ELSE '[]' END AS reading
        FROM run JOIN job USING (job_id)
        JOIN record ON record.job_id = run.job_id AND record.epoch = run.epoch
            AND record.kind = 'telemetry',
            json_each(CASE WHEN json_valid(CAST(record.payload AS TEXT))
                THEN CAST(record.payload AS TEXT) ELSE '{}' END, '$.rows') sample"""
    db.conn.execute("DROP VIEW telemetry")
    columns = ", ".join(("run_id", "campaign_id", "device", *shown))
    db.conn.execute(f"CREATE VIEW telemetry AS SELECT {columns} FROM ({rows})")  # noqa: S608
