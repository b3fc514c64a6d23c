"""View telemetry has the periods of CPU quotas, and those in which a quota was used up.

The rows lie in the records as devices sent them; what is no reading is NULL, as in the migration
0012. Records of agents from before have no such columns.
"""

from __future__ import annotations

from sqlite_utils import Database

# Name, lowest, highest, whether whole: by place in a row. As evaluation.telemetry had them when
# this migration was made; a later change of these is a later migration.
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
    """Make the view anew, with two more columns at the end."""
    shown = []
    for place, (name, low, high, whole) in enumerate(_READINGS):
        value = f"json_extract(reading, '$[{place}]')"
        kind = f"json_type(reading, '$[{place}]')"
        result = f"CAST(round({value}) AS INTEGER)" if whole else value
        shown.append(
            f"CASE WHEN {kind} IN ('integer', 'real', 'true', 'false')"
            f" AND {value} BETWEEN {low} AND {high} THEN {result} END AS {name}"
        )
    # json_each gives a list as JSON text; of anything else there are no readings.
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
