"""The public views, column by column: type, unit and meaning. Their only documentation.

Parquet's schema and the documentation are generated from it. Types: `text`; `integer` (64 bit);
`real`; `boolean`; `json` (text that holds JSON); `time` (text, ISO 8601 in UTC, `…Z`). Any value
may be null: the device does not offer it, or the mode does not measure it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

TYPES = ("text", "integer", "real", "boolean", "json", "time")


class Column(NamedTuple):
    """One column of a view. `unit` is empty for a column without a unit."""

    name: str
    type: str
    unit: str
    meaning: str


def _columns(*rows: tuple[str, str, str, str]) -> dict[str, Column]:
    return {row[0]: Column(*row) for row in rows}


_IDENTITY = _columns(
    ("campaign_id", "text", "", "campaign that it belongs to"),
    ("device", "text", "", "name of the device"),
    ("arch", "text", "", "processor architecture, like x86_64 or arm64"),
    ("os", "text", "", "operating system and its version"),
    ("board", "text", "", "the product, from device tree or DMI"),
    ("benchmark", "text", "", "name of the benchmark"),
    ("model", "text", "", "name of the model"),
    ("precision", "text", "", "number format of the model, like fp32 or int8"),
    ("dataset", "text", "", "name of the data set"),
    ("runtime", "text", "", "inference runtime"),
    ("runtime_version", "text", "", "its version, as it ran"),
    ("accelerator", "text", "", "execution provider or delegate that was actually used"),
    ("scenario", "text", "", "LoadGen scenario: SingleStream, MultiStream, Server, Offline"),
    ("mode", "text", "", "performance, accuracy, find-performance, or a test: TEST01, TEST04"),
    ("profile", "text", "", "quick (seconds, never submittable) or valid (MLPerf's minimums)"),
    ("parameters", "json", "", "parameters of the program"),
)
_FIGURES = _columns(
    ("started_at", "time", "", "start of the measured interval, by the board's clock"),
    ("duration_s", "real", "s", "length of the measured interval"),
    ("query_count", "integer", "queries", "queries that LoadGen issued"),
    ("sample_count", "integer", "samples", "samples in these queries; in accuracy mode, answers"),
    (
        "metric_name",
        "text",
        "",
        "the official metric: early_stopping_latency_p90_ms (SingleStream), "
        "early_stopping_query_latency_p99_ms (MultiStream), samples_per_s (Offline), "
        "completed_samples_per_s (Server)",
    ),
    ("metric_value", "real", "as metric_name says", "LoadGen's official figure"),
    (
        "latency_mean_ms",
        "real",
        "ms",
        "mean latency by LoadGen; of queries in MultiStream; in Offline, where all samples are "
        "issued at once, the time from then until a sample's completion, and null where LoadGen's "
        "sum of 64 bits wrapped and the percentiles do not determine the mean",
    ),
    ("latency_p50_ms", "real", "ms", "50th percentile of the same"),
    ("latency_p90_ms", "real", "ms", "90th percentile of the same"),
    ("latency_p95_ms", "real", "ms", "95th percentile of the same"),
    ("latency_p99_ms", "real", "ms", "99th percentile of the same"),
    ("latency_p999_ms", "real", "ms", "99.9th percentile of the same"),
    ("throughput_samples_per_s", "real", "samples/s", "samples per second by LoadGen"),
    ("accuracy", "real", "0 to 1", "recomputed from LoadGen's accuracy log and the labels"),
    ("accuracy_metric", "text", "", "what accuracy means, like top-1"),
    ("energy_j", "real", "J", "energy of the measured interval"),
    ("energy_per_query_j", "real", "J", "the same, for each query"),
    ("energy_per_sample_j", "real", "J", "the same, for each sample"),
    ("power_mean_w", "real", "W", "mean power in the measured interval"),
    ("energy_source", "text", "", "the sensors it is of, and what they cover: board, battery, cpu"),
    ("energy_unavailable", "text", "", "why there is no energy"),
    ("energy_official", "boolean", "", "whether it is of a PTDaemon log; sensors are not official"),
    (
        "interval_percent",
        "real",
        "%",
        "half of the 95 % interval of the official percentile within the run; not in Offline",
    ),
    ("peak_memory_bytes", "integer", "bytes", "highest memory use of the job"),
    (
        "repeat_interval_percent",
        "real",
        "%",
        "half of the 95 % interval of the official figure over the repetitions (--stable)",
    ),
    ("temperature_start_c", "real", "°C", "temperature of the board before the job began"),
    ("temperature_max_c", "real", "°C", "highest temperature of the board during the attempt"),
    (
        "loadgen_validity",
        "text",
        "",
        "LoadGen's verdict, VALID or INVALID; INVALID too where the logs prove no valid run; "
        "null in a sound accuracy run",
    ),
    ("condition", "text", "", "good, suspicious (see reasons) or unchecked (no telemetry)"),
    ("condition_reasons", "json", "", "list of {code, text, value, limit}"),
    ("submittable", "boolean", "", "whether the run meets MLPerf's minimums"),
)
_ORIGIN = _columns(
    ("release_serial", "integer", "", "serial of the signed release"),
    ("lockfile_sha256", "text", "", "SHA-256 of the lockfile: exact versions and artifacts"),
    ("loadgen_version", "text", "", "LoadGen's version, by its log"),
    ("agent_version", "text", "", "version of the agent"),
    ("sandbox", "text", "", "level that the job ran in: none, limits, landlock, bubblewrap"),
    (
        "search",
        "json",
        "",
        "find-performance: {found, unit, latency_limit_ms, kept, runs}; of each run target, "
        "measured, samples, percentile_ms, duration_ms, valid, why",
    ),
    ("samples_sha256", "text", "", "blob with the run's samples (with --samples)"),
)
_JOB = _columns(
    ("run_id", "text", "", "run"),
    ("job_id", "text", "", "job that it belongs to"),
    ("epoch", "integer", "", "fencing epoch: generation << 32 | number of the attempt"),
    ("official", "boolean", "", "whether it is its job's result (else it came late)"),
)

_RUNS = {**_JOB, **_IDENTITY, **_FIGURES, **_ORIGIN}
_RESULTS = {
    **{
        name: column
        for name, column in {**_IDENTITY, **_FIGURES}.items()
        if name not in ("mode", "duration_s", "query_count", "sample_count")
    },
    **_columns(
        ("repetition", "integer", "", "which repetition of the configuration, from 1"),
        ("performance_run_id", "text", "", "run that the performance figures are of"),
        ("accuracy_run_id", "text", "", "run that the accuracy is of"),
    ),
}
_DEVICES = _columns(
    ("device_id", "text", "", "device"),
    ("name", "text", "", "its name"),
    ("labels", "json", "", "labels that people set"),
    ("capabilities", "json", "", "facts that its agent measured"),
    ("arch", "text", "", "processor architecture"),
    ("os", "text", "", "operating system and its version"),
    ("board", "text", "", "the product, from device tree or DMI"),
    ("agent_version", "text", "", "version of its agent"),
    ("registered_at", "time", "", "first contact"),
    ("last_seen_at", "time", "", "last contact"),
)
_CAMPAIGNS = _columns(
    ("campaign_id", "text", "", "campaign"),
    ("benchmark", "text", "", "benchmark or suite that was scheduled"),
    ("selector", "text", "", "devices that were asked for"),
    ("profile", "text", "", "quick or valid"),
    ("created_at", "time", "", "when it was scheduled"),
    ("finished_at", "time", "", "when its last job ended"),
    ("jobs", "integer", "jobs", "how many jobs it has"),
    ("paused_at", "time", "", "since when no job of it begins"),
    ("submitted_by", "text", "", "who scheduled it"),
)
_JOBS = _columns(
    ("job_id", "text", "", "job"),
    ("campaign_id", "text", "", "campaign that it belongs to"),
    ("configuration", "text", "", "what it runs, in words"),
    ("repetition", "integer", "", "which repetition of the configuration, from 1"),
    ("state", "text", "", "QUEUED, ACTIVE, SUCCEEDED, INVALID, FAILED, CANCELLING, CANCELLED"),
    ("reason", "text", "", "why it is in this state"),
    ("priority", "integer", "", "higher runs first; waiting is worth priority, too"),
    ("attempts", "integer", "attempts", "attempts so far"),
    ("max_attempts", "integer", "attempts", "attempts that it may have"),
    ("device", "text", "", "name of the device it is on"),
    ("run_id", "text", "", "its result"),
    ("created_at", "time", "", "when it was scheduled"),
    ("deadline_at", "time", "", "when it becomes FAILED if it has not ended"),
    ("finished_at", "time", "", "when it ended"),
    ("retried_as", "text", "", "the job that does it again, after `controller jobs retry`"),
)
_ATTEMPTS = _columns(
    ("job_id", "text", "", "job that it belongs to"),
    ("campaign_id", "text", "", "campaign that the job belongs to"),
    ("epoch", "integer", "", "fencing epoch: generation << 32 | number of the attempt"),
    ("device", "text", "", "name of the device"),
    (
        "state",
        "text",
        "",
        "OFFERED, PREPARING, RUNNING, UPLOADING, VERIFYING, DONE, REFUSED, ABORTED, LOST",
    ),
    ("reason", "text", "", "why it is in this state"),
    ("created_at", "time", "", "when it was assigned"),
    ("finished_at", "time", "", "when it ended"),
    ("records", "integer", "records", "records that arrived without a gap"),
    ("bytes_sent", "integer", "bytes", "bytes that were sent to the device for it"),
)
_TELEMETRY = _columns(
    ("run_id", "text", "", "run that it was taken beside"),
    ("campaign_id", "text", "", "campaign that the run belongs to"),
    ("device", "text", "", "name of the device"),
    ("elapsed_ms", "real", "ms", "time since the attempt began"),
    ("temperature_c", "real", "°C", "temperature of the board"),
    ("frequency_hz", "real", "Hz", "clock of the CPU"),
    ("cpu_percent", "real", "% of a core", "CPU time of the job"),
    ("memory_bytes", "integer", "bytes", "memory of the job"),
    ("foreign_cpu_percent", "real", "% of a core", "CPU time of everything else"),
    ("load", "real", "processes", "load average over a minute"),
    ("swap_bytes", "integer", "bytes", "used swap"),
    ("swapped_bytes", "integer", "bytes", "what was swapped in and out since the board started"),
    (
        "throttled",
        "integer",
        "bits",
        "1 under-voltage, 2 capped, 4 throttled, 8 soft limit, "
        "16 thermal counter rose, 32 cooled by the kernel",
    ),
    ("power_mode", "integer", "", "place in the list `telemetry.power_modes` of the provenance"),
)
_EVENTS = _columns(
    ("event_id", "integer", "", "number of the event"),
    ("at", "time", "", "when it happened, by the controller's clock"),
    ("kind", "text", "", "what happened"),
    ("device", "text", "", "name of the device"),
    ("campaign_id", "text", "", "campaign"),
    ("job_id", "text", "", "job"),
    ("epoch", "integer", "", "fencing epoch"),
    ("detail", "text", "", "more about it"),
)
_SAMPLES = _columns(
    ("run_id", "text", "", "run"),
    ("sample_index", "integer", "", "place in the order in which they were taken, from 0"),
    ("latency_ns", "integer", "ns", "latency as timed inside the job"),
)

VIEWS: Mapping[str, Mapping[str, Column]] = {
    "runs": _RUNS,
    "results": _RESULTS,
    "devices": _DEVICES,
    "campaigns": _CAMPAIGNS,
    "jobs": _JOBS,
    "attempts": _ATTEMPTS,
    "telemetry": _TELEMETRY,
    "events": _EVENTS,
    "samples": _SAMPLES,
}
"""The eight views of the store, and `samples`, which exists in exports only."""


def column(view: str, name: str) -> Column:
    """Return a column of a view; an unknown one (of a newer controller) is text.

    Raises:
        KeyError: there is no such view.
    """
    return VIEWS[view].get(name, Column(name, "text", "", ""))
