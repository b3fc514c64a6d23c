"""Benchmark tools of runtimes: what their command lines ask for, and what their output says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_harness.crosscheck import ROUNDS, planned_rounds
from fleetmark_harness.native_tool import (
    MEAN,
    ORT_TOOL,
    P50,
    TFLITE_TOOL,
    NativeTool,
    NativeToolUnavailable,
    choose_tool,
    read_latency_ns,
    tool_command,
)

ORT = NativeTool(ORT_TOOL, "/usr/bin/onnxruntime_perf_test", "", P50)
TFLITE = NativeTool(TFLITE_TOOL, "/usr/bin/benchmark_model", "", MEAN)
ORT_OUTPUT = """Session creation time cost: 0.0146 s
First inference time cost: 2 ms
Average inference time cost total: 1.998 ms
Runs:500
Min Latency: 0.00181 s
P50 Latency: 0.00193 s
P90 Latency: 0.0021 s
"""
TFLITE_OUTPUT = """INFO: count=50 first=212 curr=180 min=170 max=260 avg=181.5 std=9
INFO: Inference timings in us: Init: 812, First inference: 301, Warmup (avg): 190.25, \
Inference (avg): 181.5
"""


def job(runtime: str = "onnxruntime", software: Any = None, **parameters: Any) -> Any:
    tables: dict[str, Any] = {"runtime": {"name": runtime}, "model": {}}
    tools = {ORT_TOOL: {"path": ORT.path}, TFLITE_TOOL: {"path": TFLITE.path, "version": "2.1"}}
    return SimpleNamespace(
        table=tables.__getitem__,
        tables=tables,
        software=tools if software is None else software,
        parameters=parameters,
    )


def adapter(**values: Any) -> Any:
    return SimpleNamespace(**{"input_shape": (28, 28, 1), **values})


def test_the_tool_of_the_runtime_is_chosen() -> None:
    assert choose_tool(job(), adapter(), 1) == ORT
    found = choose_tool(job("tflite"), adapter(is_resized=False), 1)
    assert (found.name, found.version, found.statistic) == (TFLITE_TOOL, "2.1", MEAN)


def constant() -> Any:
    found = job()
    found.tables["model"] = {"constants": [{"name": "threshold"}]}
    return found


@pytest.mark.parametrize(
    ("asked", "opened", "batch", "reason"),
    [
        (job("openvino"), adapter(), 1, "no tool of runtime openvino"),
        (job(software={}), adapter(), 1, "did not detect onnxruntime_perf_test"),
        (job(), adapter(), 8, "not batches of 8"),
        (constant(), adapter(), 1, "constant inputs"),
        (job(), adapter(input_shape=(0, 3)), 1, "open sizes"),
        (job("tflite"), adapter(is_resized=True), 1, "resize"),
        (job(execution_provider="xnnpack"), adapter(), 1, "provider cpu only"),
    ],
)
def test_a_tool_that_would_measure_something_else_is_refused(
    asked: Any, opened: Any, batch: int, reason: str
) -> None:
    with pytest.raises(NativeToolUnavailable, match=reason):
        choose_tool(asked, opened, batch)


def test_the_command_lines_have_the_parameters_of_the_job() -> None:
    words = tool_command(ORT, Path("/m.onnx"), {"threads": 3}, 40)
    assert " ".join(words) == f"{ORT.path} -I -e cpu -m times -r 40 -x 3 -y 1 -o 99 -s /m.onnx"
    changed = {
        "graph_optimization": "disabled",
        "execution_mode": "parallel",
        "inter_op_threads": 2,
        "cpu_mem_arena": False,
        "mem_pattern": False,
    }
    words = tool_command(ORT, Path("/m.onnx"), changed, 8)
    assert " ".join(words[8:]) == "-x 1 -y 2 -o 0 -P -A -M -s /m.onnx"
    words = tool_command(TFLITE, Path("/m.tflite"), {"threads": 2, "xnnpack": False}, 9)
    assert {"--graph=/m.tflite", "--num_threads=2", "--use_xnnpack=false"} <= set(words)


def test_the_latency_of_an_inference_is_read() -> None:
    assert read_latency_ns(ORT, ORT_OUTPUT) == pytest.approx(1_930_000)
    assert read_latency_ns(TFLITE, TFLITE_OUTPUT) == pytest.approx(181_500)
    scientific = "Inference (avg): 1.5e+06"
    assert read_latency_ns(TFLITE, scientific) == pytest.approx(1.5e9)


@given(tool=st.sampled_from([ORT, TFLITE]), before=st.text(), value=st.text(max_size=12))
def test_any_other_output_is_refused(tool: NativeTool, before: str, value: str) -> None:
    label = "\nP50 Latency: " if tool is ORT else "Inference (avg): "
    try:
        found = read_latency_ns(tool, f"{before}{label}{value} s\n")
    except NativeToolUnavailable:
        return
    assert 0 < found < 1e13


@given(left_s=st.floats(-10, 1e6), round_s=st.floats(0.1, 1e4))
def test_rounds_fit_into_half_of_the_time_that_is_left(left_s: float, round_s: float) -> None:
    found = planned_rounds(left_s, round_s)
    assert 1 <= found <= ROUNDS
    assert found == 1 or found * round_s <= left_s / 2 * (1 + 1e-9)
