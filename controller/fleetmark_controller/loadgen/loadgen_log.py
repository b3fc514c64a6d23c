"""Parser of LoadGen's logs: `mlperf_log_detail.txt` (`:::MLLOG {json}` lines) and the summary.

The key of a scenario's official metric follows MLCommons' submission checker (table
`RESULT_FIELD_NEW` of tools/submission, the same in rounds v5.0 to v6.1):

| scenario | key | our metric |
|---|---|---|
| SingleStream | early_stopping_latency_ss (ns) | early_stopping_latency_p90_ms |
| MultiStream | early_stopping_latency_ms (ns, a query) | early_stopping_query_latency_p99_ms |
| Offline | result_samples_per_second | samples_per_s |
| Server | result_completed_samples_per_sec | completed_samples_per_s |

As in the checker, the first of several lines with one key counts. Unlike there, a later line with a
different value is a contradiction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from fleetmark_controller.loadgen import limits, rules
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.estimate_text import estimates_ns
from fleetmark_controller.loadgen.mllog import RawLog, Values, read
from fleetmark_controller.loadgen.wrapped_mean import true_mean_ns
from fleetmark_core.regular_file import open_regular

PERCENTILES = ("50.00", "90.00", "95.00", "97.00", "99.00", "99.90")
SCENARIOS = ("SingleStream", "MultiStream", "Server", "Offline")
PERFORMANCE = "PerformanceOnly"
ACCURACY = "AccuracyOnly"
TOO_FEW_QUERIES = "too few queries for early stopping"
"""The check that fails if LoadGen cannot give its percentile."""
_CHECKS = {
    "result_min_duration_met": "minimum duration not reached",
    "result_min_queries_met": "minimum query count not reached",
    "early_stopping_met": TOO_FEW_QUERIES,
    "result_perf_constraints_met": "latency constraint not met",
}


@dataclass(frozen=True)
class LoadgenSettings:
    """Settings with which LoadGen ran: its `effective_…` values."""

    scenario: str
    mode: str
    min_duration_ms: int
    min_query_count: int
    min_sample_count: int
    samples_per_query: int
    performance_sample_count: int
    accuracy_sample_count: int
    seeds: rules.Seeds
    target_qps: float | None = None
    """The rate at which queries were sent; only in Server."""
    target_percentile: float | None = None
    """Percentile of the official latency, between 0 and 1; None if the log does not state it."""


@dataclass(frozen=True)
class Latency:
    """LoadGen's own latency figures in ns; `percentiles` by `PERCENTILES`.

    `mean_ns` is None if LoadGen's sum wrapped and the mean is unknown, see `wrapped_mean`.
    """

    min_ns: int
    max_ns: int
    mean_ns: int | None
    percentiles: dict[str, int]

    def __post_init__(self) -> None:
        """Reject figures that no set of latencies can have.

        Raises:
            IngestError: the figures are out of order.
        """
        steps = [self.min_ns, *(self.percentiles[name] for name in PERCENTILES), self.max_ns]
        mean_ns = self.min_ns if self.mean_ns is None else self.mean_ns
        if steps != sorted(steps) or not self.min_ns <= mean_ns <= self.max_ns:
            raise IngestError(
                f"latencies are out of order: min {self.min_ns}, mean {self.mean_ns}, "
                f"max {self.max_ns}, percentiles {list(self.percentiles.values())} ns"
            )


@dataclass(frozen=True)
class LoadgenResult:
    """LoadGen's results in performance mode.

    `validity` is LoadGen's own verdict; `failed_checks` are its checks that failed, `reasons` its
    texts. `metric_value` is None if LoadGen gave no estimate (too few queries).
    """

    validity: str
    failed_checks: tuple[str, ...]
    reasons: tuple[str, ...]
    query_count: int
    sample_count: int
    metric_name: str
    metric_value: float | None
    throughput_samples_per_s: float | None
    latency: Latency
    query_latency: Latency | None
    stated_estimates_ns: dict[str, int] = field(default_factory=dict)
    """Estimates by percentile ("90.0"), from the log's text about early stopping."""
    estimated: Latency | None = None
    """Latencies up to the first token, if early stopping estimates from them.

    That is the case in runs of language models with `use_token_latencies`. None: it estimates from
    the latencies of queries.
    """
    inferable_estimate_ns: int | None = None
    """Estimate of the 99th percentile in SingleStream, from which MultiStream is inferred.

    0: LoadGen gave no estimate (too few queries). None: not SingleStream, or not logged.
    """
    inferable_rate_per_s: float | None = None
    """Rate without overhead in SingleStream, from which Offline is inferred."""


@dataclass(frozen=True)
class LoadgenLog:
    """A detail log. `result` is None in accuracy mode and if the test did not finish.

    `started_unix_ns` and `duration_s` are those of the interval that LoadGen marks for power
    measurement. `test_datetime` is not usable: it is local time that is labeled UTC.
    """

    version: str
    revision: str
    settings: LoadgenSettings
    result: LoadgenResult | None
    query_count: int | None
    started_unix_ns: int | None
    duration_s: float | None
    errors: tuple[str, ...]
    error_count: int
    warning_count: int
    bad_lines: int
    first_bad_line: str
    contradictions: tuple[str, ...]


def parse_detail(path: Path) -> LoadgenLog:
    """Read a detail log.

    Lines that are not LoadGen lines are counted, not fatal.

    Raises:
        IngestError: the file is missing or too large, contains no test, or an implausible figure.
    """
    try:
        return interpret(read_detail(path))
    except IngestError as error:
        raise IngestError(error.what, path.name) from error


def read_detail(path: Path) -> RawLog:
    """Return the values of a detail log's lines, by key.

    Raises:
        IngestError: the file is missing or too large.
    """
    try:
        with open_regular(path) as file:
            if path.stat().st_size > limits.MAX_DETAIL_BYTES:
                raise IngestError(f"larger than {limits.MAX_DETAIL_BYTES >> 20} MiB", path.name)
            return read(file)
    except OSError as error:
        raise IngestError(f"cannot be read: {error.strerror}", path.name) from error


def interpret(raw: RawLog) -> LoadgenLog:
    """Return the figures of a detail log.

    Raises:
        IngestError: the log contains no test, or an implausible figure.
    """
    if not raw.values:
        bad_line = f" (first bad line: {raw.first_bad_line})" if raw.bad_lines else ""
        raise IngestError(f"holds no LoadGen line{bad_line}")
    values = Values(raw.values)
    if "effective_scenario" not in values:
        raise IngestError("ends before the test's settings: LoadGen did not start the test")
    settings = _settings(values)
    version, _, revision = values.text("loadgen_version").partition(" @ ")
    result = None
    query_count = None
    if "result_validity" in values:
        result = _result(values, settings)
        query_count = result.query_count
    elif "generated_query_count" in values:
        query_count = values.integer("generated_query_count", limits.MAX_COUNT)
    started_unix_ns, duration_s = _interval(raw)
    stated = values.integer("num_errors", limits.MAX_COUNT, raw.error_count)
    return LoadgenLog(
        version=version,
        revision=revision,
        settings=settings,
        result=result,
        query_count=query_count,
        started_unix_ns=started_unix_ns,
        duration_s=duration_s,
        errors=tuple(raw.errors),
        error_count=max(raw.error_count, stated),
        warning_count=raw.warning_count,
        bad_lines=raw.bad_lines,
        first_bad_line=raw.first_bad_line,
        contradictions=raw.contradictions,
    )


def _settings(values: Values) -> LoadgenSettings:
    count = limits.MAX_COUNT
    seed = (1 << 64) - 1
    # LoadGen of v5.1 has no setting to use fewer samples, and does not log how many it uses.
    total = values.integer("qsl_reported_total_count", count)
    return LoadgenSettings(
        scenario=values.word("effective_scenario", SCENARIOS),
        mode=values.text("effective_test_mode"),
        min_duration_ms=values.integer("effective_min_duration_ms", count),
        min_query_count=values.integer("effective_min_query_count", count),
        min_sample_count=values.integer("effective_min_sample_count", count, 0),
        samples_per_query=values.integer("effective_samples_per_query", count),
        performance_sample_count=values.integer("effective_performance_sample_count", count),
        accuracy_sample_count=values.integer("effective_accuracy_sample_count", count, total),
        seeds=rules.Seeds(
            values.integer("effective_qsl_rng_seed", seed),
            values.integer("effective_sample_index_rng_seed", seed),
            values.integer("effective_schedule_rng_seed", seed),
        ),
        target_qps=values.rate("effective_target_qps") or None
        if values.text("effective_scenario") == "Server"
        else None,
        target_percentile=_share(values.rate("effective_target_latency_percentile")),
    )


def _share(value: float | None) -> float | None:
    return value if value is not None and 0 < value < 1 else None


def _first_token_latency(values: Values) -> Latency | None:
    """Return the latencies up to the first token; None in a run without token latencies.

    With token latencies, LoadGen's key `early_stopping_latency_ss` is their estimate, not that of
    whole queries (`loadgen/results.cc`).
    """
    if "early_stopping_ttft_result" not in values:
        return None
    most = limits.MAX_LATENCY_NS
    lowest, highest, mean = (
        values.integer(f"result_first_token_{name}_latency_ns", most)
        for name in ("min", "max", "mean")
    )
    percentiles = {
        name: values.integer(f"result_first_token_{name}_percentile_latency_ns", most)
        for name in PERCENTILES
    }
    return Latency(lowest, highest, mean, percentiles)


def _latency(values: Values, *, of_query: bool = False, offline_samples: int = 0) -> Latency:
    most = limits.MAX_LATENCY_NS
    short, long = ("query_", "per_query_") if of_query else ("", "")
    lowest = values.integer(f"result_min_{short}latency_ns", most)
    highest = values.integer(f"result_max_{short}latency_ns", most)
    percentiles = {
        name: values.integer(f"result_{name}_percentile_{long}latency_ns", most)
        for name in PERCENTILES
    }
    mean: int | None = values.integer(f"result_mean_{short}latency_ns", most)
    if offline_samples and mean is not None:
        mean = true_mean_ns(mean, offline_samples, lowest, highest, percentiles)
    return Latency(lowest, highest, mean, percentiles)


def _result(values: Values, settings: LoadgenSettings) -> LoadgenResult:
    validity = values.word("result_validity", ("VALID", "INVALID"))
    query_count = values.integer("result_query_count", limits.MAX_COUNT)
    # In Offline `effective_samples_per_query` is the size of the one query; in MultiStream it is 8.
    per_query = values.integer(
        "generated_samples_per_query", limits.MAX_COUNT, settings.samples_per_query
    )
    failed = tuple(text for key, text in _CHECKS.items() if values.flag(key) is False)
    reasons = [values.text("result_invalid_reason")] if "result_invalid_reason" in values else []
    if values.flag("early_stopping_met") is False:
        reasons.append(values.text("early_stopping_result"))
    offline = settings.scenario == "Offline"
    if offline:
        per_query = _issued_offline(values, settings, per_query)
    sample_count = min(query_count * per_query, limits.MAX_COUNT)
    latency = _latency(values, offline_samples=sample_count if offline else 0)
    query_latency = _latency(values, of_query=True) if settings.scenario == "MultiStream" else None
    name, value, throughput = _metric(values, settings, query_latency)
    single = settings.scenario == "SingleStream"
    estimates = single and "early_stopping_latency_ms" in values
    return LoadgenResult(
        validity=validity,
        failed_checks=failed,
        reasons=tuple(text for text in reasons if text),
        query_count=query_count,
        sample_count=sample_count,
        metric_name=name,
        metric_value=value,
        throughput_samples_per_s=throughput,
        latency=latency,
        query_latency=query_latency,
        stated_estimates_ns=estimates_ns(
            values.text("early_stopping_ttft_result") or values.text("early_stopping_result")
        ),
        estimated=_first_token_latency(values) if settings.scenario != "Offline" else None,
        inferable_estimate_ns=values.integer("early_stopping_latency_ms", limits.MAX_LATENCY_NS)
        if estimates
        else None,
        inferable_rate_per_s=values.rate("result_qps_without_loadgen_overhead") if single else None,
    )


def _issued_offline(values: Values, settings: LoadgenSettings, samples: int) -> int:
    """Return how many samples the query of Offline held; `samples` is the count that LoadGen logs.

    If each sample is issued equally often, LoadGen pads the query "to a multiple of the complete
    dataset" and logs the number before padding (`loadgen/loadgen.cc`,
    `sample_concatenate_permutation`). Some builds of v4.0 and v4.1 do not log this setting: then
    the query counts as padded if the rate shows it.
    """
    total = values.integer("qsl_reported_total_count", limits.MAX_COUNT)
    loaded = min(settings.performance_sample_count, total)
    padded = -(-samples // loaded) * loaded if loaded else samples
    setting = values.flag("effective_sample_concatenate_permutation")
    if setting is not None:
        return padded if setting else samples
    rate, longest_ns = (
        values.rate("result_samples_per_second"),
        values.integer("result_max_latency_ns", limits.MAX_LATENCY_NS),
    )
    issued = (rate or 0.0) * longest_ns / 1e9
    return padded if abs(issued - padded) < abs(issued - samples) else samples


def _metric(
    values: Values, settings: LoadgenSettings, query_latency: Latency | None
) -> tuple[str, float | None, float | None]:
    """Return name and value of the official metric, and samples per second.

    LoadGen writes 0 for a value that it does not have.
    """
    if settings.scenario == "SingleStream":
        estimate = values.integer("early_stopping_latency_ss", limits.MAX_LATENCY_NS, 0)
        throughput = values.rate("result_qps_with_loadgen_overhead")
        return "early_stopping_latency_p90_ms", estimate / 1e6 or None, throughput or None
    if settings.scenario == "MultiStream":
        estimate = values.integer("early_stopping_latency_ms", limits.MAX_LATENCY_NS, 0)
        # The submission checker infers Offline from MultiStream in the same way.
        mean_ns = query_latency.mean_ns if query_latency else None
        throughput = settings.samples_per_query * 1e9 / mean_ns if mean_ns else None
        return "early_stopping_query_latency_p99_ms", estimate / 1e6 or None, throughput or None
    key, name = {
        "Offline": ("result_samples_per_second", "samples_per_s"),
        "Server": ("result_completed_samples_per_sec", "completed_samples_per_s"),
    }[settings.scenario]
    rate = values.rate(key) or None
    return name, rate, rate


def _interval(raw: RawLog) -> tuple[int | None, float | None]:
    """Return start (Unix ns) and length (s) of the measured interval.

    LoadGen writes both ends as UTC wall-clock times in milliseconds. The clock may be stepped in
    between, so the length must match the monotonic times of the log's lines.
    """
    begin, end = (_power_time(raw.values.get(key)) for key in ("power_begin", "power_end"))
    span_ms = raw.times_ms.get("power_end", math.nan) - raw.times_ms.get(
        "generated_query_count", math.nan
    )
    span_s = span_ms / 1000 if span_ms >= 0 else None
    if begin is None or end is None:
        return begin, span_s
    length_s = (end - begin) / 1e9
    # One second of slack, because the thread that writes the lines wakes up only periodically.
    if span_s is not None and not -0.01 <= span_s - length_s <= 1 + 0.01 * span_s:
        length_s = span_s
    return begin, length_s if length_s >= 0 else span_s


def _power_time(value: object) -> int | None:
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.strptime(value, "%m-%d-%Y %H:%M:%S.%f").replace(tzinfo=timezone.utc)
        return int(moment.timestamp() * 1000) * 1_000_000
    except (ValueError, OverflowError):
        return None
