"""Definition of the public views: type, unit and meaning of each column.

Parquet's schema and the documentation are generated from it. Types: `text`; `integer` (64 bit);
`real`; `boolean`; `json` (text that holds JSON); `time` (text, ISO 8601 in UTC, `…Z`). Any value
may be null: the device does not offer it, or the mode does not measure it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

TYPES = ("text", "integer", "real", "boolean", "json", "time")


class Column(NamedTuple):
    """A column of a view. `unit` is empty for a column without a unit."""

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
    ("runtime_version", "text", "", "version of the inference runtime that ran"),
    ("accelerator", "text", "", "execution provider or delegate that was actually used"),
    ("scenario", "text", "", "LoadGen scenario: SingleStream, MultiStream, Server, Offline"),
    (
        "mode",
        "text",
        "",
        "performance, accuracy, find-performance, crosscheck, or a test: TEST01, TEST04",
    ),
    ("profile", "text", "", "quick (seconds, never submittable) or valid (MLPerf's minimums)"),
    ("parameters", "json", "", "parameters of the program"),
)
_FIGURES = _columns(
    ("started_at", "time", "", "start of the measured interval, by the device's clock"),
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
    ("metric_value", "real", "see metric_name", "LoadGen's official figure"),
    (
        "latency_mean_ms",
        "real",
        "ms",
        "mean latency by LoadGen; in MultiStream, of queries; in Offline, the time from issuing "
        "all samples until a sample's completion, and null if LoadGen's 64-bit sum overflowed and "
        "the percentiles do not determine the mean",
    ),
    ("latency_p50_ms", "real", "ms", "50th percentile of the latency"),
    ("latency_p90_ms", "real", "ms", "90th percentile of the latency"),
    ("latency_p95_ms", "real", "ms", "95th percentile of the latency"),
    ("latency_p99_ms", "real", "ms", "99th percentile of the latency"),
    ("latency_p999_ms", "real", "ms", "99.9th percentile of the latency"),
    ("throughput_samples_per_s", "real", "samples/s", "samples per second by LoadGen"),
    (
        "accuracy",
        "real",
        "see accuracy_metric",
        "recomputed from LoadGen's accuracy log and the labels: a share from 0 to 1 (top-K, f1, "
        "miou, map, map50), similarity from -1 to 1 (cosine), or an error, of which lower is "
        "better (wer, cer, mae)",
    ),
    (
        "accuracy_metric",
        "text",
        "",
        "metric of accuracy: top-1 to top-99, f1, miou, map, map50, wer, cer, mae or cosine",
    ),
    ("energy_j", "real", "J", "energy of the measured interval"),
    ("energy_per_query_j", "real", "J", "energy per query"),
    ("energy_per_sample_j", "real", "J", "energy per sample"),
    ("power_mean_w", "real", "W", "mean power in the measured interval"),
    (
        "energy_source",
        "text",
        "",
        "sensors of the energy, and their scope: board, battery, module, soc, cpu; or `external:` "
        "and the meter",
    ),
    ("energy_unavailable", "text", "", "reason, if no energy was measured"),
    (
        "energy_official",
        "boolean",
        "",
        "whether the energy comes from a PTDaemon log; sensors and other meters are not official",
    ),
    (
        "energy_uncertainty_j",
        "real",
        "J",
        "uncertainty of the energy from an external meter: the largest errors by clocks and meter, "
        "and an estimate of the error by the sampling; null for sensors, if the meter's accuracy "
        "is unknown, and with too few readings",
    ),
    (
        "interval_percent",
        "real",
        "%",
        "half of the 95 % interval of the official percentile within the run; null in Offline",
    ),
    ("peak_memory_bytes", "integer", "bytes", "highest memory use of the job"),
    ("load_ms", "real", "ms", "time that opening the model took, without importing the runtime"),
    (
        "first_inference_ms",
        "real",
        "ms",
        "duration of the first call of the model, a part of the warm-up",
    ),
    ("warmup_ms", "real", "ms", "duration of the calls before the calibration"),
    (
        "steady_state_ms",
        "real",
        "ms",
        "median duration of a call after the warm-up; a call has one sample in SingleStream and "
        "Server, 8 in MultiStream, batch_size in Offline",
    ),
    (
        "load_memory_bytes",
        "integer",
        "bytes",
        "highest memory use of the job until the model and the data set were loaded",
    ),
    (
        "repeat_interval_percent",
        "real",
        "%",
        "half of the 95 % interval of the official figure over the repetitions (--stable)",
    ),
    ("temperature_start_c", "real", "°C", "temperature of the device before the job began"),
    ("temperature_max_c", "real", "°C", "highest temperature of the device during the attempt"),
    (
        "steady_start_s",
        "real",
        "s",
        "start of the steady state in the measured interval (--sustain); null without one",
    ),
    (
        "steady_throughput_samples_per_s",
        "real",
        "samples/s",
        "samples per second in the steady state of a sustained run",
    ),
    (
        "steady_latency_mean_ms",
        "real",
        "ms",
        "mean latency in the steady state of a sustained run; in Offline, of a call of the model",
    ),
    (
        "loadgen_validity",
        "text",
        "",
        "LoadGen's verdict, VALID or INVALID; also INVALID if the logs do not prove a valid run; "
        "null in an accuracy run without faults",
    ),
    (
        "estimate_reason",
        "text",
        "",
        "why the figures are an estimate: the model is too slow for as many queries as LoadGen's "
        "percentile needs; null in a measurement",
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
        "find-performance: {found, unit, latency_limit_ms, kept, runs}; each run has target, "
        "measured, samples, percentile_ms, duration_ms, valid, why",
    ),
    (
        "operators",
        "json",
        "",
        "--profile-ops: {calls, total_ms, operators}; each operator has operator, count, total_ms, "
        "share, providers; or {unavailable} with the reason",
    ),
    (
        "energy_meter",
        "json",
        "",
        "external meter: energy_j, mean_w, peak_w, parts of the uncertainty, alignment, options, "
        "log_sha256, and `before` with the figures of the device that the import replaced; "
        "PTDaemon: log_sha256 and `before` only",
    ),
    ("samples_sha256", "text", "", "blob with the run's samples (with --samples)"),
)
_JOB = _columns(
    ("run_id", "text", "", "run"),
    ("job_id", "text", "", "job that it belongs to"),
    ("epoch", "integer", "", "fencing epoch: generation << 32 | number of the attempt"),
    (
        "official",
        "boolean",
        "",
        "whether the run is the result of its job (false: it arrived late)",
    ),
)

_RUNS = {**_JOB, **_IDENTITY, **_FIGURES, **_ORIGIN}
_RESULTS = {
    **{
        name: column
        for name, column in {**_IDENTITY, **_FIGURES}.items()
        if name not in ("mode", "duration_s", "query_count", "sample_count")
    },
    **_columns(
        ("repetition", "integer", "", "number of the repetition, from 1"),
        ("performance_run_id", "text", "", "run of the performance figures"),
        ("accuracy_run_id", "text", "", "run of the accuracy"),
    ),
}
_DEVICES = _columns(
    ("device_id", "text", "", "device"),
    ("name", "text", "", "name of the device"),
    ("labels", "json", "", "labels from operators and agents"),
    ("capabilities", "json", "", "capabilities that the agent reported"),
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
    ("selector", "text", "", "selector of the devices"),
    ("profile", "text", "", "quick or valid"),
    ("created_at", "time", "", "when it was scheduled"),
    ("finished_at", "time", "", "when its last job ended"),
    ("jobs", "integer", "jobs", "number of jobs"),
    ("paused_at", "time", "", "when it was paused; null if it is not paused"),
    ("submitted_by", "text", "", "operator who scheduled it"),
)
_JOBS = _columns(
    ("job_id", "text", "", "job"),
    ("campaign_id", "text", "", "campaign that it belongs to"),
    ("configuration", "text", "", "description of what it runs"),
    ("repetition", "integer", "", "number of the repetition, from 1"),
    (
        "state",
        "text",
        "",
        "QUEUED, ACTIVE, SUCCEEDED, ESTIMATE, INVALID, FAILED, CANCELLING, CANCELLED",
    ),
    ("reason", "text", "", "why it is in this state"),
    ("priority", "integer", "", "jobs with a higher priority run first; waiting adds priority"),
    ("attempts", "integer", "attempts", "attempts so far"),
    ("max_attempts", "integer", "attempts", "maximum number of attempts"),
    ("device", "text", "", "name of the device that runs it"),
    ("run_id", "text", "", "run that is its result"),
    ("created_at", "time", "", "when it was scheduled"),
    ("deadline_at", "time", "", "when it becomes FAILED if it has not ended"),
    ("finished_at", "time", "", "when it ended"),
    ("retried_as", "text", "", "job that repeats it, after `controller jobs retry`"),
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
    ("created_at", "time", "", "when it was dispatched"),
    ("finished_at", "time", "", "when it ended"),
    ("records", "integer", "records", "records received without a gap"),
    ("bytes_sent", "integer", "bytes", "bytes sent to the device for it"),
)
_TELEMETRY = _columns(
    ("run_id", "text", "", "run during which it was sampled"),
    ("campaign_id", "text", "", "campaign that the run belongs to"),
    ("device", "text", "", "name of the device"),
    ("elapsed_ms", "real", "ms", "time since the attempt began"),
    ("temperature_c", "real", "°C", "temperature of the device"),
    ("frequency_hz", "real", "Hz", "clock of the CPU"),
    ("cpu_percent", "real", "% of a core", "CPU time of the job"),
    ("memory_bytes", "integer", "bytes", "memory of the job"),
    ("foreign_cpu_percent", "real", "% of a core", "CPU time of all other processes"),
    ("load", "real", "processes", "load average over one minute"),
    ("swap_bytes", "integer", "bytes", "used swap"),
    ("swapped_bytes", "integer", "bytes", "bytes swapped in and out since the device booted"),
    (
        "throttled",
        "integer",
        "bits",
        "1 under-voltage, 2 capped, 4 throttled, 8 soft limit, "
        "16 thermal counter increased, 32 slowed by the kernel to cool down",
    ),
    ("power_mode", "integer", "", "index into the list `telemetry.power_modes` of the provenance"),
    ("quota_periods", "integer", "periods", "periods of CPU quotas since the previous reading"),
    ("quota_throttled", "integer", "periods", "of these, periods in which a quota was used up"),
)
_EVENTS = _columns(
    ("event_id", "integer", "", "number of the event"),
    ("at", "time", "", "when it happened, by the controller's clock"),
    ("kind", "text", "", "what happened"),
    ("device", "text", "", "name of the device"),
    ("campaign_id", "text", "", "campaign"),
    ("job_id", "text", "", "job"),
    ("epoch", "integer", "", "fencing epoch"),
    ("detail", "text", "", "details of the event"),
)
_SAMPLES = _columns(
    ("run_id", "text", "", "run"),
    ("sample_index", "integer", "", "index of the sample in measuring order, from 0"),
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
