"""Names of tables and columns follow the glossary; three columns of public views are renamed.

Views `runs` and `results`: `quality` becomes `condition`, `quality_reasons` becomes
`condition_reasons`, and `lock_digest` (in `runs` only) becomes `lockfile_sha256`. Rows keep their
values. The hashes of the audit log cover values, not names, so its chain stays valid.
"""

from __future__ import annotations

from sqlite_utils import Database

_TABLES = {
    "device_care": "device_admin",
    "device_lock": "device_cached_lock",
    "option_row": "job_option",
    "roster": "device_list_version",
    "meta": "key_value",
}
_COLUMNS = (
    ("job_option", "option_set", "option_set_id"),
    ("job", "option_set", "option_set_id"),
    ("job", "series", "interleave_group"),
    ("job", "turn", "interleave_index"),
    ("attempt", "orders", "order_document"),
    ("run", "search", "search_trace"),
    ("run", "lock_digest", "lock_sha256"),
    ("run", "quality", "condition"),
    ("run", "quality_reasons", "condition_reasons"),
    ("audit", "who", "actor"),
    ("audit", "act", "action"),
)
_COUNTED = tuple(
    (table, event) for table in ("device", "identity") for event in ("INSERT", "UPDATE", "DELETE")
)

# The views and triggers that contain an old name are dropped first and recreated at the end, so
# that their text does not depend on how the database rewrites them during a rename.
_DROPS = (
    "DROP VIEW results",
    "DROP VIEW runs",
    *(f"DROP TRIGGER {table}_{event.lower()}_roster" for table, event in _COUNTED),
    "DROP INDEX job_in_series",
    "DROP INDEX job_by_options",
)

_RENAMES = (
    *(f"ALTER TABLE {old} RENAME TO {new}" for old, new in _TABLES.items()),
    *(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}" for table, old, new in _COLUMNS),
)

_ENERGY_AND_CONDITION = (
    *("interval_percent", "repeat_interval_percent", "energy_per_query_j", "energy_per_sample_j"),
    *("power_mean_w", "energy_source", "energy_unavailable", "energy_official"),
    "temperature_start_c",
)
"""Columns that migration 9 appended to both views."""

_CREATES = (
    """CREATE INDEX job_in_interleave_group ON job (interleave_group, interleave_index)
        WHERE interleave_group <> ''""",
    "CREATE INDEX job_by_option_set ON job (option_set_id)",
    *(
        f"""CREATE TRIGGER {table}_{event.lower()}_version AFTER {event} ON {table}
        BEGIN UPDATE device_list_version SET version = version + 1; END"""  # noqa: S608
        for table, event in _COUNTED
    ),
    f"""CREATE VIEW runs AS SELECT run.run_id, campaign_id, run.job_id, epoch, official, device,
        arch, os, board, benchmark, model, precision, dataset, runtime, runtime_version,
        accelerator, scenario, mode, profile, parameters, started_at, duration_s, query_count,
        sample_count, metric_name, metric_value, latency_mean_ms, latency_p50_ms, latency_p90_ms,
        latency_p95_ms, latency_p99_ms, latency_p999_ms, throughput_samples_per_s, accuracy,
        accuracy_metric, energy_j, peak_memory_bytes, temperature_max_c, loadgen_validity,
        condition, condition_reasons, submittable, release_serial,
        lock_sha256 AS lockfile_sha256, loadgen_version, agent_version,
        json_extract(provenance, '$.sandbox') AS sandbox,
        {", ".join(_ENERGY_AND_CONDITION)}, search_trace AS search
        FROM run JOIN job USING (job_id)""",  # noqa: S608
    f"""CREATE VIEW results AS
        WITH official AS (
            SELECT run.*, campaign_id, configuration_key, repetition FROM run
            JOIN job ON job.job_id = run.job_id WHERE official = 1),
        performance AS (SELECT * FROM official WHERE mode = 'performance'),
        accuracy AS (SELECT * FROM official WHERE mode = 'accuracy'),
        key AS (SELECT DISTINCT campaign_id, device, configuration_key, repetition FROM official
            WHERE mode IN ('performance', 'accuracy'))
        SELECT key.campaign_id, key.device,
            coalesce(p.arch, a.arch) AS arch, coalesce(p.os, a.os) AS os,
            coalesce(p.board, a.board) AS board, coalesce(p.benchmark, a.benchmark) AS benchmark,
            coalesce(p.model, a.model) AS model, coalesce(p.precision, a.precision) AS precision,
            coalesce(p.dataset, a.dataset) AS dataset, coalesce(p.runtime, a.runtime) AS runtime,
            coalesce(p.runtime_version, a.runtime_version) AS runtime_version,
            coalesce(p.accelerator, a.accelerator) AS accelerator,
            coalesce(p.scenario, a.scenario) AS scenario, coalesce(p.profile, a.profile) AS profile,
            coalesce(p.parameters, a.parameters) AS parameters, key.repetition,
            p.metric_name, p.metric_value, p.latency_mean_ms, p.latency_p50_ms, p.latency_p90_ms,
            p.latency_p95_ms, p.latency_p99_ms, p.latency_p999_ms, p.throughput_samples_per_s,
            a.accuracy, a.accuracy_metric, p.energy_j,
            coalesce(p.peak_memory_bytes, a.peak_memory_bytes) AS peak_memory_bytes,
            p.temperature_max_c, p.loadgen_validity, p.condition, p.condition_reasons,
            coalesce(p.submittable, 0) AS submittable, p.started_at,
            p.run_id AS performance_run_id, a.run_id AS accuracy_run_id,
            {", ".join(f"p.{name}" for name in _ENERGY_AND_CONDITION)}
        FROM key
        LEFT JOIN performance p ON p.campaign_id = key.campaign_id AND p.device = key.device
            AND p.configuration_key = key.configuration_key AND p.repetition = key.repetition
        LEFT JOIN accuracy a ON a.campaign_id = key.campaign_id AND a.device = key.device
            AND a.configuration_key = key.configuration_key AND a.repetition = key.repetition""",  # noqa: S608
)


def apply(db: Database) -> None:
    """Rename, and recreate the indexes, triggers and views that contain an old name."""
    for statement in (*_DROPS, *_RENAMES, *_CREATES):
        db.conn.execute(statement)
