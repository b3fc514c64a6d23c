"""Consistency checks: the figures of a LoadGen log must not contradict each other.

An edited log betrays itself unless every figure that follows from another is edited too. MLCommons'
checkers accept logs with contradictory figures; the checks here name each contradiction.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleetmark_controller.loadgen import early_stopping
from fleetmark_controller.loadgen.loadgen_log import Latency, LoadgenLog, LoadgenResult
from fleetmark_controller.loadgen.summary import Summary
from fleetmark_controller.loadgen.wrapped_mean import bounds_of_sum_ns

# LoadGen prints rates with six significant digits.
_PRINTED = 2e-5
# The measured interval is logged in milliseconds, at both ends, by a clock that may be slewed.
_INTERVAL_SLACK_S = 0.02
_INTERVAL_SLACK = 0.01


def denials(log: LoadgenLog, result: LoadgenResult) -> list[str]:
    """Return the facts in the log that make the run invalid, independent of its verdict line."""
    found = list(result.failed_checks)
    settings = log.settings
    if result.query_count < settings.min_query_count:
        found.append(f"{result.query_count} of {settings.min_query_count} queries")
    if result.sample_count < settings.min_sample_count:
        found.append(f"{result.sample_count} of {settings.min_sample_count} samples")
    wanted_s = settings.min_duration_ms / 1000
    if log.duration_s is not None:
        most_s = log.duration_s * (1 + _INTERVAL_SLACK) + _INTERVAL_SLACK_S
        if most_s < wanted_s:
            found.append(f"measured for {log.duration_s:g} of {wanted_s:g} s")
    return found


def figures(log: LoadgenLog, result: LoadgenResult) -> Iterator[str]:
    """Yield contradictions between figures, except those that `official_figures` finds."""
    scenario = log.settings.scenario
    latency = result.latency
    rate = result.throughput_samples_per_s
    if scenario == "SingleStream" and rate and latency.mean_ns is not None:
        # One query at a time: all queries but the last, which LoadGen leaves out of the rate, and
        # at worst the longest one, fit into the time that the rate implies.
        lasted_ns = (result.sample_count - 1) * 1e9 / rate
        least_ns = result.sample_count * latency.mean_ns - latency.max_ns
        if lasted_ns * (1 + _PRINTED) < least_ns:
            yield f"{rate:g} queries/s, but the mean latency is {latency.mean_ns} ns"
    if scenario == "SingleStream":
        yield from _lasted(log, result)
        yield from _inferable_estimate(result)
        yield from _inferable_rate(result)
    if scenario in early_stopping.PERCENTILE:
        yield from _mean(result)


def official_figures(
    log: LoadgenLog, result: LoadgenResult, percentile: float | None = None
) -> Iterator[str]:
    """Yield contradictions of the official figure with others; they make the run invalid.

    Args:
        log: the log.
        result: its result.
        percentile: the latency percentile of the benchmark, between 0 and 1. None: the scenario's.
            LoadGen's mlperf.conf has another one for some benchmarks, since v5.1:
            `pointpainting.SingleStream.target_latency_percentile = 99.9`.
    """
    scenario = log.settings.scenario
    if scenario in early_stopping.PERCENTILE:
        yield from _estimate(log, result, percentile or early_stopping.PERCENTILE[scenario])
    rate, longest_ns = result.throughput_samples_per_s, result.latency.max_ns
    if scenario == "Offline" and rate and longest_ns:
        expected = result.sample_count * 1e9 / longest_ns
        if abs(rate - expected) > _PRINTED * expected:
            yield f"{rate:g} samples/s, but counts and latencies make it {expected:g}"
    if scenario == "Server":
        yield from _lasted(log, result)


def summary_figures(summary: Summary, log: LoadgenLog, result: LoadgenResult) -> Iterator[str]:
    """Yield figures of the summary that differ from those of the detail log."""
    if summary.scenario not in ("", log.settings.scenario):
        yield f"the summary is of {summary.scenario}, the detail log of {log.settings.scenario}"
    known = [_by_label(latency) for latency in (result.query_latency, result.latency) if latency]
    for label, value in summary.latencies_ns.items():
        allowed = [of_label[label] for of_label in known if label in of_label]
        if allowed and value not in allowed:
            yield f"the summary's {label} is {value} ns, the detail log's {allowed[0]} ns"
    stated = {
        "SingleStream": summary.estimate_ns.get("90.0") or None,
        "MultiStream": summary.estimate_ns.get("99.0") or None,
        "Offline": summary.samples_per_s,
        "Server": summary.samples_per_s,
    }[log.settings.scenario]
    other_ns = summary.estimate_ns.get("99.0") if log.settings.scenario == "SingleStream" else None
    if None not in (other_ns, result.inferable_estimate_ns) and (
        other_ns != result.inferable_estimate_ns
    ):
        yield (
            f"by the summary the estimate of the 99th percentile is {other_ns} ns,"
            f" by the detail log {result.inferable_estimate_ns}"
        )
    if stated is None or result.metric_value is None:
        return
    scale = 1e6 if result.metric_name.endswith("_ms") else 1.0
    slack = max(_PRINTED * result.metric_value, summary.rounding_per_s / scale)
    if abs(stated / scale - result.metric_value) > slack:
        yield f"by the summary {result.metric_name} is {stated / scale:g}, by the detail log " + (
            f"{result.metric_value:g}"
        )


def _by_label(latency: Latency) -> dict[str, int]:
    percentiles = {f"p{float(name):g}": value for name, value in latency.percentiles.items()}
    return {"minimum": latency.min_ns, "maximum": latency.max_ns, **percentiles}


def _estimate(log: LoadgenLog, result: LoadgenResult, percentile: float) -> Iterator[str]:
    """Yield contradictions of the early-stopping estimate, which must be a latency of the run."""
    latency = result.estimated or result.query_latency or result.latency
    if result.metric_value is None:
        return
    judged_by = log.settings.target_percentile
    if judged_by not in (None, percentile):
        yield f"the figure is of percentile {judged_by:g}, MLPerf's of {percentile:g}"
        return
    found = early_stopping.bounds_ns(latency, result.query_count, percentile)
    if found is None:
        yield f"{result.query_count} queries are too few for an early stopping estimate"
        return
    low, high = found[0] / 1e6, found[1] / 1e6
    if not low * (1 - 1e-9) <= result.metric_value <= high * (1 + 1e-9):
        yield (
            f"the early stopping estimate {result.metric_value:g} ms does not lie between"
            f" {low:g} and {high:g} ms, where {result.query_count} queries put it"
        )
    stated = result.stated_estimates_ns.get(f"{percentile * 100:.1f}")
    if stated is not None and abs(stated / 1e6 - result.metric_value) > 1e-9 * result.metric_value:
        yield (
            f"the early stopping estimate is {result.metric_value:g} ms,"
            f" and {stated / 1e6:g} ms in LoadGen's own words"
        )


def _inferable_estimate(result: LoadgenResult) -> Iterator[str]:
    """Yield contradictions of the 99th percentile's estimate, from which MultiStream is inferred.

    LoadGen estimates it in SingleStream by the rule of MultiStream (`loadgen/results.cc`).
    """
    estimate_ns = result.inferable_estimate_ns
    if estimate_ns is None:
        return
    stated_ns = result.stated_estimates_ns.get("99.0", 0)
    if result.stated_estimates_ns and stated_ns != estimate_ns:
        yield (
            f"the early stopping estimate of the 99th percentile is {estimate_ns / 1e6:g} ms,"
            f" and {stated_ns / 1e6:g} ms in LoadGen's own words"
        )
    if not estimate_ns:
        return
    latency, count = result.estimated or result.latency, result.query_count
    found = early_stopping.bounds_ns(latency, count, early_stopping.PERCENTILE["MultiStream"])
    if found is None:
        yield f"{count} queries are too few for an early stopping estimate of the 99th percentile"
    elif not found[0] <= estimate_ns <= found[1]:
        yield (
            f"the early stopping estimate of the 99th percentile {estimate_ns / 1e6:g} ms does not"
            f" lie between {found[0] / 1e6:g} and {found[1] / 1e6:g} ms, where {count} queries"
            " put it"
        )


def _inferable_rate(result: LoadgenResult) -> Iterator[str]:
    """Yield contradictions of the rate without overhead: LoadGen divides 1 s by the mean."""
    rate, mean_ns = result.inferable_rate_per_s, result.latency.mean_ns
    if not rate or mean_ns is None:
        return
    if abs(rate * mean_ns - 1e9) > _PRINTED * 1e9:
        yield f"{rate:g} queries/s without overhead, but the mean latency is {mean_ns} ns"


def _mean(result: LoadgenResult) -> Iterator[str]:
    """Yield a mean that latencies with these percentiles cannot have; Offline is inferred from it.

    LoadGen rounds the mean down.
    """
    latency, count = result.query_latency or result.latency, result.query_count
    if latency.mean_ns is None or not count:
        return
    low_ns, high_ns = bounds_of_sum_ns(count, latency.min_ns, latency.max_ns, latency.percentiles)
    if (latency.mean_ns + 1) * count < low_ns or latency.mean_ns * count > high_ns:
        yield f"the mean latency {latency.mean_ns} ns does not fit the percentiles"


def _lasted(log: LoadgenLog, result: LoadgenResult) -> Iterator[str]:
    rate = result.throughput_samples_per_s
    if not rate or not log.duration_s:
        return
    lasted = (result.sample_count - 1) / rate
    slack = _INTERVAL_SLACK_S + _INTERVAL_SLACK * log.duration_s
    slack += result.latency.max_ns / 1e9
    if abs(lasted - log.duration_s) > slack:
        yield f"{result.sample_count} samples at {rate:g}/s, but it took {log.duration_s:g} s"
