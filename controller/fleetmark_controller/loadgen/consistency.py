"""Whether a LoadGen log's figures can all be true at once.

Someone who edits a log must edit every figure that follows from another. MLCommons' checkers
accept logs whose figures do not fit together; here each misfit is named.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleetmark_controller.loadgen.loadgen_log import LoadgenLog, Result

# LoadGen prints rates with six significant digits.
_PRINTED = 2e-5
# The measured interval is logged to the millisecond, at both ends, by a clock that may be slewed.
_INTERVAL_SLACK_S = 0.02
_INTERVAL_SLACK = 0.01


def denials(log: LoadgenLog, result: Result) -> list[str]:
    """What in the log says that the run is not valid, whatever its verdict line says."""
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


def figures(log: LoadgenLog, result: Result) -> Iterator[str]:
    """Texts about figures that contradict one another."""
    scenario = log.settings.scenario
    latency = result.query_latency or result.latency
    estimate_of = {"SingleStream": "90.00", "MultiStream": "99.00"}.get(scenario)
    if estimate_of and result.metric_value is not None:
        # Early stopping gives an upper bound of the percentile, a latency that occurred.
        low, high = latency.percentiles[estimate_of] / 1e6, latency.max_ns / 1e6
        if not low * (1 - 1e-9) <= result.metric_value <= high * (1 + 1e-9):
            yield (
                f"the early stopping estimate {result.metric_value:g} ms does not lie between "
                f"p{float(estimate_of):g} ({low:g} ms) and the maximum ({high:g} ms)"
            )
    rate = result.throughput_samples_per_s
    if scenario == "Offline" and rate and latency.max_ns:
        expected = result.sample_count * 1e9 / latency.max_ns
        if abs(rate - expected) > _PRINTED * expected:
            yield f"{rate:g} samples/s, but counts and latencies make it {expected:g}"
    if scenario == "SingleStream" and rate:
        # One query at a time: all of them but the last, which LoadGen leaves out of the rate, and
        # at worst the longest one, fit into the time that the rate implies.
        lasted_ns = (result.sample_count - 1) * 1e9 / rate
        least_ns = result.sample_count * latency.mean_ns - latency.max_ns
        if lasted_ns * (1 + _PRINTED) < least_ns:
            yield f"{rate:g} queries/s, but the mean latency is {latency.mean_ns} ns"
    if rate and log.duration_s and scenario in ("SingleStream", "Server"):
        lasted = (result.sample_count - 1) / rate
        slack = _INTERVAL_SLACK_S + _INTERVAL_SLACK * log.duration_s
        slack += latency.max_ns / 1e9
        if abs(lasted - log.duration_s) > slack:
            yield f"{result.sample_count} samples at {rate:g}/s, but it took {log.duration_s:g} s"
