"""The first schema: the tables are internal, the eight views are public."""

from __future__ import annotations

from sqlite_utils import Database

_TABLES = (
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE device (
        device_id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, labels TEXT NOT NULL,
        capabilities TEXT NOT NULL, agent_version TEXT NOT NULL, boot_id TEXT NOT NULL,
        registered_at TEXT NOT NULL, last_seen_at TEXT NOT NULL)""",
    """CREATE TABLE campaign (
        campaign_id TEXT PRIMARY KEY, benchmark TEXT NOT NULL, selector TEXT NOT NULL,
        profile TEXT NOT NULL, request TEXT NOT NULL, created_at TEXT NOT NULL,
        finished_at TEXT)""",
    "CREATE TABLE lock (lock_sha256 TEXT PRIMARY KEY, content BLOB NOT NULL)",
    """CREATE TABLE job (
        job_id TEXT PRIMARY KEY, sequence INTEGER NOT NULL UNIQUE,
        campaign_id TEXT NOT NULL REFERENCES campaign, label TEXT NOT NULL,
        configuration TEXT NOT NULL, configuration_key TEXT NOT NULL, repetition INTEGER NOT NULL,
        state TEXT NOT NULL, reason TEXT NOT NULL, priority INTEGER NOT NULL,
        timeout_s REAL NOT NULL, deadline_at TEXT NOT NULL, max_attempts INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, newest_epoch INTEGER NOT NULL DEFAULT 0,
        device_id TEXT REFERENCES device, run_id TEXT,
        created_at TEXT NOT NULL, finished_at TEXT)""",
    "CREATE INDEX job_by_campaign ON job (campaign_id, sequence)",
    "CREATE INDEX job_waiting ON job (priority DESC, sequence) WHERE state = 'QUEUED'",
    """CREATE TABLE job_option (
        job_id TEXT NOT NULL REFERENCES job, device_id TEXT NOT NULL REFERENCES device,
        lock_sha256 TEXT NOT NULL REFERENCES lock, lock_bytes INTEGER NOT NULL,
        bundle_bytes INTEGER NOT NULL, PRIMARY KEY (job_id, device_id)) WITHOUT ROWID""",
    """CREATE TABLE attempt (
        job_id TEXT NOT NULL REFERENCES job, epoch INTEGER NOT NULL,
        device_id TEXT NOT NULL REFERENCES device, state TEXT NOT NULL, reason TEXT NOT NULL,
        orders BLOB NOT NULL, created_at TEXT NOT NULL, finished_at TEXT,
        through_seq INTEGER NOT NULL DEFAULT 0, final_seq INTEGER,
        verified INTEGER NOT NULL DEFAULT 0, bytes_sent INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (job_id, epoch))""",
    """CREATE INDEX attempt_live ON attempt (device_id)
        WHERE state IN ('OFFERED', 'PREPARING', 'RUNNING', 'UPLOADING')""",
    # An attempt is verified once every record up to its final one is stored.
    """CREATE INDEX attempt_unverified ON attempt (final_seq)
        WHERE final_seq NOT NULL AND verified = 0""",
    """CREATE TABLE record (
        job_id TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL,
        payload BLOB NOT NULL, sha256 TEXT NOT NULL, received_at TEXT NOT NULL,
        PRIMARY KEY (job_id, epoch, seq),
        FOREIGN KEY (job_id, epoch) REFERENCES attempt (job_id, epoch)) WITHOUT ROWID""",
    """CREATE TABLE run (
        run_id TEXT PRIMARY KEY, job_id TEXT NOT NULL, epoch INTEGER NOT NULL,
        official INTEGER NOT NULL, device TEXT NOT NULL, arch TEXT NOT NULL, os TEXT NOT NULL,
        board TEXT, benchmark TEXT NOT NULL, model TEXT, precision TEXT, dataset TEXT,
        runtime TEXT, runtime_version TEXT, accelerator TEXT, scenario TEXT NOT NULL,
        mode TEXT NOT NULL, profile TEXT NOT NULL, parameters TEXT NOT NULL,
        started_at TEXT, duration_s REAL, query_count INTEGER, sample_count INTEGER,
        metric_name TEXT, metric_value REAL, latency_mean_ms REAL, latency_p50_ms REAL,
        latency_p90_ms REAL, latency_p95_ms REAL, latency_p99_ms REAL, latency_p999_ms REAL,
        throughput_samples_per_s REAL, accuracy REAL, accuracy_metric TEXT, energy_j REAL,
        peak_memory_bytes INTEGER, temperature_max_c REAL, loadgen_validity TEXT,
        quality TEXT, quality_reasons TEXT NOT NULL, submittable INTEGER NOT NULL,
        release_serial INTEGER, lock_digest TEXT NOT NULL, loadgen_version TEXT,
        agent_version TEXT, samples_sha256 TEXT, provenance TEXT NOT NULL,
        stored_at TEXT NOT NULL, UNIQUE (job_id, epoch),
        FOREIGN KEY (job_id, epoch) REFERENCES attempt (job_id, epoch))""",
    "CREATE UNIQUE INDEX run_official ON run (job_id) WHERE official = 1",
    """CREATE TABLE run_file (
        run_id TEXT NOT NULL REFERENCES run, name TEXT NOT NULL, role TEXT NOT NULL,
        sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL,
        PRIMARY KEY (run_id, name)) WITHOUT ROWID""",
    """CREATE TABLE event (
        event_id INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL,
        device_id TEXT, job_id TEXT, epoch INTEGER, detail TEXT NOT NULL)""",
    "CREATE INDEX event_by_job ON event (job_id)",
)

_RUN_COLUMNS = """run.run_id, campaign_id, run.job_id, epoch, official, device, arch, os, board,
    benchmark, model, precision, dataset, runtime, runtime_version, accelerator, scenario, mode,
    profile, parameters, started_at, duration_s, query_count, sample_count, metric_name,
    metric_value, latency_mean_ms, latency_p50_ms, latency_p90_ms, latency_p95_ms, latency_p99_ms,
    latency_p999_ms, throughput_samples_per_s, accuracy, accuracy_metric, energy_j,
    peak_memory_bytes, temperature_max_c, loadgen_validity, quality, quality_reasons, submittable,
    release_serial, lock_digest, loadgen_version, agent_version"""

_VIEWS = (
    """CREATE VIEW devices AS SELECT device_id, name, labels, capabilities,
        json_extract(capabilities, '$.arch') AS arch,
        json_extract(capabilities, '$.os.name') || ' '
            || json_extract(capabilities, '$.os.version') AS os,
        json_extract(capabilities, '$.board.model') AS board,
        agent_version, registered_at, last_seen_at FROM device""",
    """CREATE VIEW campaigns AS SELECT campaign_id, benchmark, selector, profile, created_at,
        finished_at, (SELECT count(*) FROM job WHERE job.campaign_id = campaign.campaign_id) AS jobs
        FROM campaign""",
    """CREATE VIEW jobs AS SELECT job_id, campaign_id, label AS configuration, repetition, state,
        reason, priority, attempts, max_attempts,
        (SELECT name FROM device WHERE device.device_id = job.device_id) AS device,
        run_id, created_at, deadline_at, finished_at FROM job""",
    """CREATE VIEW attempts AS SELECT attempt.job_id, campaign_id, epoch, name AS device,
        attempt.state, attempt.reason, attempt.created_at, attempt.finished_at,
        through_seq AS records, bytes_sent
        FROM attempt JOIN device USING (device_id) JOIN job USING (job_id)""",
    f"CREATE VIEW runs AS SELECT {_RUN_COLUMNS} FROM run JOIN job USING (job_id)",  # noqa: S608
    # One row per configuration and device: the newest official performance run joined with the
    # newest official accuracy run of the same campaign, device, configuration and repetition.
    """CREATE VIEW results AS
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
            p.temperature_max_c, p.loadgen_validity, p.quality, p.quality_reasons,
            coalesce(p.submittable, 0) AS submittable, p.started_at,
            p.run_id AS performance_run_id, a.run_id AS accuracy_run_id
        FROM key
        LEFT JOIN performance p ON p.campaign_id = key.campaign_id AND p.device = key.device
            AND p.configuration_key = key.configuration_key AND p.repetition = key.repetition
        LEFT JOIN accuracy a ON a.campaign_id = key.campaign_id AND a.device = key.device
            AND a.configuration_key = key.configuration_key AND a.repetition = key.repetition""",
    """CREATE VIEW telemetry AS SELECT run.run_id, job.campaign_id, run.device,
        json_extract(sample.value, '$[0]') AS elapsed_ms,
        json_extract(sample.value, '$[1]') AS temperature_c,
        json_extract(sample.value, '$[2]') AS frequency_hz,
        json_extract(sample.value, '$[3]') AS cpu_percent,
        json_extract(sample.value, '$[4]') AS memory_bytes,
        json_extract(sample.value, '$[5]') AS foreign_cpu_percent,
        json_extract(sample.value, '$[6]') AS load
        FROM run JOIN job USING (job_id)
        JOIN record ON record.job_id = run.job_id AND record.epoch = run.epoch
            AND record.kind = 'telemetry',
            json_each(CAST(record.payload AS TEXT), '$.rows') sample""",
    """CREATE VIEW events AS SELECT event_id, at, kind,
        (SELECT name FROM device WHERE device.device_id = event.device_id) AS device,
        (SELECT campaign_id FROM job WHERE job.job_id = event.job_id) AS campaign_id,
        job_id, epoch, detail FROM event""",
)


def apply(db: Database) -> None:
    """Create the tables and views."""
    for statement in (*_TABLES, *_VIEWS):
        db.conn.execute(statement)
