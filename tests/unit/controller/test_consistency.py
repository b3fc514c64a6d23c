"""Figures of a log that must fit one another: what some benchmarks of MLPerf do differently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetmark_controller.loadgen import consistency
from fleetmark_controller.loadgen.loadgen_log import (
    PERCENTILES,
    LoadgenLog,
    LoadgenResult,
    estimates_ns,
    parse_detail,
)
from fleetmark_controller.loadgen.summary import read_summary
from tests.support import LOADGEN_LOGS
from tests.support import evaluation_cases as cases

SINGLE = "singlestream_performance"


def parsed(name: str) -> tuple[LoadgenLog, LoadgenResult]:
    log = parse_detail(LOADGEN_LOGS / name / "mlperf_log_detail.txt")
    assert log.result is not None
    return log, log.result


def with_token_latencies(tmp_path: Path) -> Path:
    """A log as LoadGen writes it with use_token_latencies: the estimate is of the first token."""
    folder = cases.copy(SINGLE, tmp_path)
    _, result = parsed(SINGLE)
    names = ("min", "max", "mean", *(f"{name}_percentile" for name in PERCENTILES))

    def longer(entry: dict[str, Any]) -> None:
        if entry["key"] in {f"result_{name}_latency_ns" for name in names}:
            entry["value"] *= 30
        elif entry["key"] == "early_stopping_result":
            entry["key"] = "early_stopping_ttft_result"
        elif entry["key"].startswith("result_qps_with"):
            entry["value"] /= 30

    cases.edit_log(folder, longer)
    latency = result.latency
    figures = {"min": latency.min_ns, "max": latency.max_ns, "mean": latency.mean_ns}
    figures |= {f"{name}_percentile": value for name, value in latency.percentiles.items()}
    for name, value in figures.items():
        cases.append(folder, f"result_first_token_{name}_latency_ns", value)
    return folder


def test_an_estimate_of_the_first_token_is_held_against_first_tokens(tmp_path: Path) -> None:
    folder = with_token_latencies(tmp_path)
    log = parse_detail(folder / "mlperf_log_detail.txt")
    assert log.result is not None and log.result.estimated is not None
    assert log.result.estimated.max_ns * 30 == log.result.latency.max_ns
    assert list(consistency.official_figures(log, log.result)) == []
    wrong = replace(log.result, metric_value=log.result.latency.max_ns / 1e6)
    assert any("does not lie between" in text for text in consistency.official_figures(log, wrong))


def test_the_first_of_several_estimates_is_that_of_the_first_token() -> None:
    text = (
        "TTFT Early Stopping Result:\n * Early stopping 90.0th percentile estimate: 272739682\n"
        "TPOT Early Stopping Result:\n * Early stopping 90.0th percentile estimate: 26493158\n"
    )
    assert estimates_ns(text) == {"90.0": 272739682}


def test_a_benchmark_with_a_percentile_of_its_own() -> None:
    log, result = parsed(SINGLE)
    log = replace(log, settings=replace(log.settings, target_percentile=0.999))
    highest_ms = result.latency.max_ns / 1e6
    result = replace(result, query_count=10_000, metric_value=highest_ms, stated_estimates_ns={})
    assert list(consistency.official_figures(log, result, 0.999)) == []
    (text,) = consistency.official_figures(log, result)
    assert text == "the figure is of percentile 0.999, MLPerf's of 0.9"
    few = replace(result, query_count=6635)
    assert any("too few" in text for text in consistency.official_figures(log, few, 0.999))


@pytest.mark.parametrize(
    ("printed", "fits"), [("17.28", True), ("17.29", True), ("17.27", False), ("17.3", True)]
)
def test_a_rate_is_printed_with_few_decimals(tmp_path: Path, printed: str, *, fits: bool) -> None:
    folder = cases.copy("server_performance", tmp_path)
    path = folder / "mlperf_log_summary.txt"
    lines = path.read_text().splitlines()
    (place,) = [n for n, line in enumerate(lines) if line.startswith("Completed samples per")]
    lines[place] = f"Completed samples per second    : {printed}"
    path.write_text("\n".join(lines) + "\n")
    log, result = parsed("server_performance")
    result = replace(result, metric_value=17.285)
    found = list(consistency.summary_figures(read_summary(path), log, result))
    assert (found == []) == fits, found
