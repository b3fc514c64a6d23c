"""Mode find-performance, in real jobs under LoadGen."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

LOGS = ("mlperf_log_summary.txt", "mlperf_log_detail.txt", "mlperf_log_accuracy.json")


SLOW = pytest.mark.slow


@pytest.mark.parametrize("round_name", ["v6.1", pytest.param("v5.1", marks=SLOW)])
def test_server_finds_the_highest_valid_rate(bench: Any, quick: Any, round_name: str) -> None:
    ran = bench.run(quick("Server", "find-performance", round_name, target_latency_ms="20"))
    assert ran.code == 0, ran.stderr
    search = ran.result["search"]
    assert search["unit"] == "queries_per_s" and search["latency_limit_ms"] == 20
    assert 2 <= len(search["runs"]) <= 20
    kept = search["runs"][search["kept"] - 1]
    # A machine that is busy with other things may have no valid rate; then its last log says so.
    assert kept["valid"] == (search["found"] is not None)
    if search["found"] is not None:
        assert kept["target"] == search["found"]
        assert ran.details["result_validity"] == "VALID"
    assert ran.details["effective_target_qps"] == pytest.approx(kept["target"], rel=1e-4)
    assert f"target_qps = {kept['target']:.6g}" in ran.result["loadgen_user_conf"]
    assert all(run["valid"] or run["why"] for run in search["runs"])
    assert ran.details["effective_qsl_rng_seed"] > 0
    # Of the other tests nothing is left; the kept one's logs and samples are those of the run.
    assert {path.name for path in ran.out.iterdir()} == {*LOGS, "samples.i64", "result.json"}
    assert len(np.fromfile(ran.out / "samples.i64", "<i8")) == kept["samples"]
    assert not json.loads((ran.out / LOGS[2]).read_text())
    phases = {line["phase"] for line in ran.progress}
    assert "search" in phases


@pytest.mark.parametrize(
    "scenario", ["Offline", *(pytest.param(s, marks=SLOW) for s in ("SingleStream", "MultiStream"))]
)
def test_elsewhere_it_measures_what_is_to_be_expected(
    bench: Any, quick: Any, scenario: str
) -> None:
    ran = bench.run(quick(scenario, "find-performance"))
    assert ran.code == 0, ran.stderr
    search, details = ran.result["search"], ran.details
    kept = search["runs"][search["kept"] - 1]
    assert search["found"] == kept["measured"] > 0 and kept["valid"]
    assert 3 <= len(search["runs"]) <= 5
    # Each test expects what the one before it measured.
    for before, after in zip(search["runs"], search["runs"][1:], strict=False):
        assert after["target"] == before["measured"]
    if scenario == "Offline":
        assert search["unit"] == "samples_per_s"
        assert details["result_samples_per_second"] == pytest.approx(search["found"], rel=1e-4)
        return
    assert search["unit"] == "ms_per_query"
    query = "query_" if scenario == "MultiStream" else ""
    assert details[f"result_mean_{query}latency_ns"] / 1e6 == pytest.approx(search["found"])


@SLOW
def test_a_limit_that_cannot_be_kept_is_reported_by_the_last_test(bench: Any, quick: Any) -> None:
    # The search lowers the rate until a test takes as long as the profile lets it.
    order = quick("Server", "find-performance", target_latency_ms="0.01")
    ran = bench.run(order, limit_s=900)
    assert ran.code == 0, ran.stderr
    search = ran.result["search"]
    assert search["found"] is None
    assert search["kept"] == len(search["runs"])
    assert "latency constraint not met" in search["runs"][-1]["why"]
    assert ran.details["result_validity"] == "INVALID"


def test_what_was_found_is_what_a_performance_run_is_reported(bench: Any, quick: Any) -> None:
    reported = bench.run(quick("Offline", target_qps="2000"))
    assert reported.code == 0, reported.stderr
    assert "target_qps = 2200" in reported.result["loadgen_user_conf"]
    reported = bench.run(quick("SingleStream", target_latency_ms="0.05"))
    assert reported.code == 0, reported.stderr
    assert "SingleStream.target_latency = 0.05" in reported.result["loadgen_user_conf"]
