"""Figures of a log that must fit one another: what some benchmarks of MLPerf do differently."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.loadgen import consistency, early_stopping
from fleetmark_controller.loadgen.estimate_text import estimates_ns
from fleetmark_controller.loadgen.loadgen_log import (
    PERCENTILES,
    Latency,
    LoadgenLog,
    LoadgenResult,
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


@given(st.lists(st.integers(1, 10**9), min_size=64, max_size=2000))
def test_inferred_figures_of_any_latencies_are_consistent(taken: list[int]) -> None:
    """Figures as `loadgen/results.cc` computes them from any latencies are not refused."""
    log, genuine = parsed(SINGLE)
    log = replace(log, duration_s=None)
    ordered, count = sorted(taken), len(taken)
    rank = early_stopping.rank_from_top(count, 0.99)
    estimate_ns = ordered[count - rank] if rank else 0
    mean_ns = sum(ordered) // count
    percentiles = {name: ordered[int(count * float(name) / 100)] for name in PERCENTILES}
    result = replace(
        genuine,
        query_count=count,
        sample_count=count,
        throughput_samples_per_s=None,
        latency=Latency(ordered[0], ordered[-1], mean_ns, percentiles),
        stated_estimates_ns={"90.0": 1, "99.0": estimate_ns} if rank else {"90.0": 1},
        inferable_estimate_ns=estimate_ns,
        inferable_rate_per_s=float(f"{1e9 / mean_ns:.6g}"),
    )
    assert list(consistency.figures(log, result)) == []
    above = replace(result, inferable_estimate_ns=ordered[-1] + 1, stated_estimates_ns={})
    (text,) = consistency.figures(log, above)
    assert ("does not lie between" if rank else "too few") in text
    faster = replace(result, inferable_rate_per_s=1.001e9 / mean_ns)
    assert any("but the mean latency is" in text for text in consistency.figures(log, faster))
    none = replace(genuine.latency, min_ns=0, mean_ns=0)
    texts = list(consistency.figures(log, replace(genuine, latency=none)))
    assert any("but the mean latency is 0 ns" in text for text in texts)


def test_the_summary_must_have_the_estimate_for_multistream_of_the_detail_log() -> None:
    log, result = parsed(SINGLE)
    summary = read_summary(LOADGEN_LOGS / SINGLE / "mlperf_log_summary.txt")
    assert list(consistency.summary_figures(summary, log, result)) == []
    other = replace(summary, estimate_ns={**summary.estimate_ns, "99.0": 155_400})
    (text,) = consistency.summary_figures(other, log, result)
    assert "the estimate of the 99th percentile is 155400 ns, by the detail log 155401" in text


def test_a_log_without_the_figures_for_inference_is_consistent(tmp_path: Path) -> None:
    folder = cases.copy(SINGLE, tmp_path)
    path = folder / "mlperf_log_detail.txt"
    keys = ("early_stopping_latency_ms", "result_qps_without_loadgen_overhead")
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not any(f'"{key}"' in line for key in keys)))
    log = parse_detail(path)
    assert log.result is not None and log.result.inferable_estimate_ns is None
    assert log.result.inferable_rate_per_s is None
    assert list(consistency.figures(log, log.result)) == []
