"""Mode crosscheck, in real jobs under LoadGen with the real runtime."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetmark_catalog.resolve import Configuration
from fleetmark_harness.exit_codes import BAD_JOB
from tests.integration.harness.conftest import Bench, Ran

FIGURES = {
    *("loop_p50_ns", "loop_mean_ns", "answer_ns", "harness_ns", "loadgen_ns", "official_ns"),
}
SERVER_FIGURES = {
    *("loop_p50_ns", "loop_mean_ns", "answer_ns", "service_p50_ns", "service_p99_ns"),
    *("service_mean_ns", "harness_p99_ns", "loadgen_ns", "official_ns"),
}
Quick = Callable[..., Configuration]


def checked(bench: Bench, configuration: Configuration, **software: Any) -> Ran:
    def change(document: dict[str, Any]) -> None:
        document["software"] = software

    ran = bench.run(replace(configuration, mode="crosscheck"), change)
    assert ran.code == 0, ran.stderr
    return ran


def tool(folder: Path, name: str, body: str) -> dict[str, Any]:
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "$@" >> {folder}/arguments\n{body}\n')
    path.chmod(0o755)
    return {name: {"version": "", "path": str(path)}}


@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream", "Offline"])
def test_a_job_measures_each_part_in_each_round(bench: Bench, quick: Quick, scenario: str) -> None:
    ran = checked(bench, quick(scenario))
    found = ran.result["crosscheck"]
    assert len(found["rounds"]) == 9
    for one in found["rounds"]:
        assert set(one) == FIGURES
        assert all(0 < value < 1e12 and math.isfinite(value) for value in one.values())
        # LoadGen's clock runs around that of the system under test.
        assert one["loadgen_ns"] >= one["harness_ns"] * 0.99
        assert one["official_ns"] >= one["loadgen_ns"]
    assert found["native"] is None
    assert found["native_unavailable"] == (
        "the agent did not detect onnxruntime_perf_test on the device"
    )
    # The logs are those of the last block, and there are no samples that could count as a run's.
    key = {
        "SingleStream": "result_50.00_percentile_latency_ns",
        "MultiStream": "result_50.00_percentile_per_query_latency_ns",
    }.get(scenario)
    last = found["rounds"][-1]["loadgen_ns"]
    if key is not None:
        assert ran.details[key] == last
    else:
        assert 1e9 / ran.details["result_samples_per_second"] == pytest.approx(last)
    assert not (ran.out / "samples.i64").exists() and not (ran.out / "crosscheck").exists()
    assert {line["phase"] for line in ran.progress} >= {"crosscheck", "write"}


def test_a_detected_tool_runs_in_each_round_with_the_parameters_of_the_run(
    bench: Bench, quick: Quick, tmp_path: Path
) -> None:
    software = tool(tmp_path, "onnxruntime_perf_test", "echo 'P50 Latency: 0.000123 s'")
    ran = checked(bench, quick(threads="2", graph_optimization="basic"), **software)
    found = ran.result["crosscheck"]
    assert found["native"]["name"] == "onnxruntime_perf_test"
    assert found["native"]["statistic"] == "p50" and found["native_unavailable"] is None
    assert [one["native_ns"] for one in found["rounds"]] == [pytest.approx(123_000)] * 9
    calls = (tmp_path / "arguments").read_text().splitlines()
    assert len(calls) == 9
    assert all(" -x 2 -y 1 -o 1 " in f"{call} " for call in calls)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("echo no such option; exit 3", "ended with exit code 3: no such option"),
        ("echo hello", "has no latency"),
        ("kill -9 $$", "ended with exit code -9"),
    ],
)
def test_a_tool_that_fails_does_not_fail_the_job(
    bench: Bench, quick: Quick, tmp_path: Path, body: str, reason: str
) -> None:
    ran = checked(bench, quick(), **tool(tmp_path, "onnxruntime_perf_test", body))
    found = ran.result["crosscheck"]
    assert found["native"] is None and reason in found["native_unavailable"]
    assert len(found["rounds"]) == 9 and all(set(one) == FIGURES for one in found["rounds"])
    assert len((tmp_path / "arguments").read_text().splitlines()) == 1


def test_a_tool_that_measures_single_samples_is_not_compared_with_batches(
    bench: Bench, quick: Quick, tmp_path: Path
) -> None:
    software = tool(tmp_path, "onnxruntime_perf_test", "echo 'P50 Latency: 0.1 s'")
    found = checked(bench, quick("MultiStream"), **software).result["crosscheck"]
    assert found["native"] is None and "not batches of 8" in found["native_unavailable"]


def test_tflite_with_its_tool(bench: Bench, quick: Quick, tmp_path: Path) -> None:
    software = tool(
        tmp_path,
        "benchmark_model",
        "echo 'Inference timings in us: Init: 9, First inference: 8, Inference (avg): 61.5'",
    )
    found = checked(bench, quick("SingleStream", "performance", "tflite"), **software)
    result = found.result["crosscheck"]
    assert result["native"]["statistic"] == "mean"
    assert {one["native_ns"] for one in result["rounds"]} == {61_500.0}
    assert "--num_threads=1 --use_xnnpack=true" in (tmp_path / "arguments").read_text()


def test_server_has_service_queue_and_loadgen_apart(bench: Bench, quick: Quick) -> None:
    ran = checked(bench, quick("Server", target_qps="400"))
    found = ran.result["crosscheck"]
    assert len(found["rounds"]) == 9 and found["batch_size"] == 1
    for one in found["rounds"]:
        assert set(one) == SERVER_FIGURES
        assert all(0 < value < 1e12 and math.isfinite(value) for value in one.values())
        assert one["service_p50_ns"] <= one["service_p99_ns"] <= one["harness_p99_ns"]
        assert one["harness_p99_ns"] <= one["official_ns"] * 1.01
        assert one["loadgen_ns"] <= one["official_ns"]
    # The queries of a block arrive at the rate of the run, in each block at other times.
    assert ran.details["effective_target_qps"] == 400
    assert ran.details["result_query_count"] >= 200
    assert ran.details["result_50.00_percentile_latency_ns"] == found["rounds"][-1]["loadgen_ns"]
    assert ran.details["result_99.00_percentile_latency_ns"] == found["rounds"][-1]["official_ns"]
    official = bench.run(quick("Server", target_qps="400")).details["effective_schedule_rng_seed"]
    assert ran.details["effective_schedule_rng_seed"] == official + len(found["rounds"]) - 1
    assert not (ran.out / "samples.i64").exists()


def test_a_rate_that_leaves_no_time_for_a_block_is_refused(bench: Bench, quick: Quick) -> None:
    ran = bench.run(replace(quick("Server", target_qps="0.01"), mode="crosscheck"))
    assert ran.code == BAD_JOB and "blocks of 100 queries" in ran.stderr
