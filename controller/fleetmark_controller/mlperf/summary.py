"""Check of a summary against its detail log: LoadGen writes both from the same figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from fleetmark_controller.loadgen.loadgen_log import PERFORMANCE, LoadgenLog

_LINE = re.compile(r"^\s*\*?\s*([^:]+?)\s*:\s*(\S.*?)\s*$")
_MODE = {"PerformanceOnly": PERFORMANCE}
_PERCENTILES = ("50.00", "90.00", "95.00", "97.00", "99.00", "99.90")
_PARAMETERS = {
    "samples_per_query": "effective_samples_per_query",
    "target_qps": "effective_target_qps",
    "target_latency (ns)": "effective_target_latency_ns",
    "max_async_queries": "effective_max_async_queries",
    "min_duration (ms)": "effective_min_duration_ms",
    "max_duration (ms)": "effective_max_duration_ms",
    "min_query_count": "effective_min_query_count",
    "max_query_count": "effective_max_query_count",
    "qsl_rng_seed": "effective_qsl_rng_seed",
    "sample_index_rng_seed": "effective_sample_index_rng_seed",
    "schedule_rng_seed": "effective_schedule_rng_seed",
    "accuracy_log_rng_seed": "effective_accuracy_log_rng_seed",
    "accuracy_log_probability": "effective_accuracy_log_probability",
    "accuracy_log_sampling_target": "effective_accuracy_log_sampling_target",
    "print_timestamps": "effective_print_timestamps",
    "performance_issue_unique": "effective_performance_issue_unique",
    "performance_issue_same": "effective_performance_issue_same",
    "performance_issue_same_index": "effective_performance_issue_same_index",
    "performance_sample_count": "effective_performance_sample_count",
    "accuracy_sample_count": "effective_accuracy_sample_count",
}
_FIGURES = {
    "SingleStream": {
        "90.0th percentile latency (ns)": "result_90.00_percentile_latency_ns",
        "Early stopping 90.0th percentile estimate": "early_stopping_latency_ss",
        "Early stopping 99.0th percentile estimate": "early_stopping_latency_ms",
        "QPS w/ loadgen overhead": "result_qps_with_loadgen_overhead",
        "QPS w/o loadgen overhead": "result_qps_without_loadgen_overhead",
    },
    "MultiStream": {
        "99.0th percentile latency (ns)": "result_99.00_percentile_per_query_latency_ns",
        "Early stopping 99.0th percentile estimate": "early_stopping_latency_ms",
    },
    "Offline": {"Samples per second": "result_samples_per_second"},
    "Server": {"Completed samples per second": "result_completed_samples_per_sec"},
}
_INFERABLE = "Early stopping 99.0th percentile estimate"
"""In SingleStream, MultiStream is inferred from it."""
_OF_TOKENS = frozenset(
    f"Early stopping {percentile}th percentile estimate" for percentile in ("90.0", "99.0")
)
_VERDICTS = {
    "Min duration satisfied": "result_min_duration_met",
    "Min queries satisfied": "result_min_queries_met",
    "Early stopping satisfied": "early_stopping_met",
}
_PRINTED = 1e-5
"""Relative rounding error of rates, which are printed with six digits."""


def contradictions(summary: bytes, values: Mapping[str, object], log: LoadgenLog) -> Iterator[str]:
    """Yield facts of a summary that differ from its detail log or are missing."""
    text = summary.decode("utf-8", "replace")
    reported: dict[str, list[str]] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            reported.setdefault(match.group(1), []).append(match.group(2))
    for key, number, word in (("errors", log.error_count, "errors"),):
        if (f"No {word} encountered during test." in text) == bool(number):
            yield f"tells otherwise than the detail log whether there were {key}"
    if log.settings.mode != PERFORMANCE:
        if reported.keys() & {"Result is", "Scenario"}:
            yield "tells a result, but the run was of accuracy"
        return
    scenario = log.settings.scenario
    wanted: dict[str, object] = {"Scenario": scenario, "Mode": "PerformanceOnly"}
    wanted["Result is"] = values.get("result_validity")
    wanted |= {key: values.get(name) for key, name in _VERDICTS.items()}
    wanted |= {key: values.get(name) for key, name in _figures(log).items()}
    # Some rounds' LoadGen does not write all of them.
    wanted |= {key: values[name] for key, name in _PARAMETERS.items() if name in values}
    if _measures_tokens(values):
        # LoadGen prints the targets of tokens instead.
        wanted.pop("target_latency (ns)", None)
    kind, per = ("query_", "per_query_") if scenario == "MultiStream" else ("", "")
    for label, name in (("Min", "min"), ("Max", "max"), ("Mean", "mean")):
        wanted[f"{label} latency (ns)"] = values.get(f"result_{name}_{kind}latency_ns")
    for share in _PERCENTILES:
        key = f"{share} percentile latency (ns)"
        wanted[key] = values.get(f"result_{share}_percentile_{per}latency_ns")
    for key, value in wanted.items():
        found = reported.get(key, [])
        if key in _OF_TOKENS and _measures_tokens(values):
            # The estimate of the first token comes first, then that of each further token.
            found = found[:1]
        if key == _INFERABLE and scenario == "SingleStream" and not value:
            # If the queries do not suffice for this estimate, LoadGen logs 0 and prints no line.
            if found:
                yield f"{key}: is there {len(found)} times, must not be there"
        elif len(found) != 1:
            yield f"{key}: is there {len(found)} times, must be once"
        elif not _same(found[0], value):
            yield f"{key}: {found[0]}, by the detail log {value}"


def _measures_tokens(values: Mapping[str, object]) -> bool:
    return values.get("requested_use_token_latencies") is True


def _figures(log: LoadgenLog) -> Mapping[str, str]:
    """Return the key of each figure by its label; labels of SingleStream contain the percentile."""
    scenario, percentile = log.settings.scenario, log.settings.target_percentile
    if scenario != "SingleStream" or percentile in (None, 0.9):
        return _FIGURES[scenario]
    shown = 100 * (percentile or 0.0)
    return {
        label.replace("90.0th", f"{shown:.1f}th"): name.replace("_90.00_", f"_{shown:.2f}_")
        for label, name in _FIGURES[scenario].items()
    }


def _same(text: str, value: object) -> bool:
    if isinstance(value, bool):
        return text in (("Yes", "1") if value else ("NO", "No", "0"))
    if isinstance(value, (int, float)):
        try:
            figure = float(text)
        except ValueError:
            return False
        if isinstance(value, int) and text.isdigit():
            return int(text) == value
        # Some rates are rounded to two decimals.
        decimals = len(text.partition(".")[2]) if "e" not in text else 0
        rounded = 0.51 * 10**-decimals if decimals else 0.0
        return abs(figure - value) <= max(_PRINTED * abs(value), rounded)
    return text == value
