"""Results that are inferred from a run of another scenario.

Source, inference_rules.adoc of mlcommons/inference_policies (section "Benchmarks"):

    "Edge submitters are allowed to infer a multistream result from single stream, and an offline
    result from either a single stream result or a measured multistream result, according to the
    following rules:

    - a multistream result inferred from a single stream result is 8 times the 99th percentile
    latency reported by loadgen. […]
    - an offline result inferred from a multistream result is 8000 divided by the mean latency in
    milliseconds. […]
    - an offline result inferred from a single stream result is 1000 divided by the mean latency in
    milliseconds. […]

    The accuracy of an inferred result will be the same as the result from which it was inferred.
    […]

    To simplify automated processing of inferred results, the submitter should create copies of the
    directories for the inferred results under `results/` and `measurements/`, named according to
    the inferred result (either `offline` or `multistream`)."

The 99th percentile that LoadGen reports is early stopping's estimate: the submission checkers v5.0
to v6.1 take `8 * early_stopping_latency_ms` of the single stream log (`get_inferred_result`), and
refuse 0 with "Not enough samples were processed for early stopping to make an estimate". With
p = 0.99, c = 0.99 and d = 0 it takes 662 queries (inference_rules.adoc, appendix "Early Stopping
Criterion"; LoadGen's mlperf.conf: `*.MultiStream.min_query_count = 662`). For Offline they take
`result_qps_without_loadgen_overhead` of SingleStream, which is 1000 divided by the mean in
milliseconds, and `samples_per_query * 1000 / mean` of MultiStream.
"""

from __future__ import annotations

from collections.abc import Mapping

SOURCES: Mapping[str, tuple[str, ...]] = {
    "MultiStream": ("SingleStream",),
    "Offline": ("MultiStream", "SingleStream"),
}
"""The scenarios from which each scenario may be inferred."""
SAMPLES_PER_QUERY = 8
FEWEST_QUERIES = 662
"""Minimum SingleStream queries for LoadGen's estimate of the 99th percentile."""


def may_infer(scenario: str, measured: str) -> bool:
    """Return whether a result of `scenario` may be inferred from a run of `measured`."""
    return measured in SOURCES.get(scenario, ())


def inferred_figure(scenario: str, measured: str, values: Mapping[str, object]) -> float | None:
    """Return the inferred figure: ms in MultiStream, samples/s in Offline; None if impossible.

    Args:
        scenario: the scenario of the result.
        measured: the scenario of the run.
        values: the values of the run's detail log, by key.
    """
    if not may_infer(scenario, measured):
        return None
    if scenario == "MultiStream":
        estimate_ns = _number(values.get("early_stopping_latency_ms"))
        return SAMPLES_PER_QUERY * estimate_ns / 1e6 if estimate_ns else None
    if measured == "SingleStream":
        return _number(values.get("result_qps_without_loadgen_overhead"))
    mean_ns = _number(values.get("result_mean_query_latency_ns"))
    per_query = _number(values.get("effective_samples_per_query"))
    return per_query * 1e9 / mean_ns if mean_ns and per_query else None


def why_not(scenario: str, measured: str) -> str:
    """Return the reason why there is no figure, as text for operators."""
    if not may_infer(scenario, measured):
        return f"a result of {scenario} cannot be inferred from {measured}"
    if scenario == "MultiStream":
        return (
            "LoadGen estimated no 99th percentile, from which MultiStream is inferred: "
            f"SingleStream needs {FEWEST_QUERIES} queries"
        )
    return "the log has no mean latency from which Offline could be inferred"


def _number(value: object) -> float | None:
    """Return a positive number; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        return None
    return float(value)
