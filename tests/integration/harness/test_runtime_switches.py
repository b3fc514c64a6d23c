"""Switches of real runtimes in real jobs: they take effect, or the job says why they cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleetmark_controller.evaluation.operator_profile import read_profile
from fleetmark_harness.exit_codes import BAD_JOB

pytestmark = pytest.mark.timeout(600)
PHASES = ("load_ns", "first_inference_ns", "warmup_ns", "steady_state_ns")


def changed(**parameters: Any) -> Any:
    """A change of the job's document: parameters that the catalog would not let through."""
    return lambda document: document["parameters"].update(parameters)


def operators(ran: Any) -> dict[str, Any]:
    assert ran.result["operators"]["unavailable"] is None, ran.stderr
    return read_profile((ran.out / "operator_profile.json").read_bytes())


@pytest.mark.parametrize("variation", ["onnx", "tflite", "openvino", "opencv"])
@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
def test_every_runtime_reports_its_phases_and_memory(
    bench: Any, quick: Any, variation: str, scenario: str
) -> None:
    ran = bench.run(quick(scenario, "performance", variation))
    assert ran.code == 0, ran.stderr
    result = ran.result
    phases = result["phases"]
    assert all(phases[name] > 0 for name in PHASES)
    assert phases["first_inference_ns"] <= phases["warmup_ns"]
    assert 0 < result["load_memory_bytes"] <= result["peak_memory_bytes"]
    assert "operators" not in result
    assert not (ran.out / "operator_profile.json").exists()


@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
def test_onnx_runtime_profiles_its_operators_after_the_run(
    bench: Any, quick: Any, scenario: str
) -> None:
    ran = bench.run(quick(scenario, "performance", "fp32", "onnx", profile_ops="true"))
    assert ran.code == 0, ran.stderr
    found = operators(ran)
    kinds = {row["operator"] for row in found["operators"]}
    assert "Conv" in kinds, kinds
    assert all(row["providers"] == ["CPUExecutionProvider"] for row in found["operators"])
    end_ns = ran.result["start_unix_ns"] + ran.result["duration_ns"]
    assert ran.result["operators"]["start_unix_ns"] >= end_ns
    left = {path.name for path in ran.out.iterdir() if "profile" in path.name}
    assert left == {"operator_profile.json"}
    assert "profile" in {line["phase"] for line in ran.progress}


def test_graph_optimization_changes_the_operators_that_run(bench: Any, quick: Any) -> None:
    counts = {}
    for level in ("disabled", "all"):
        configuration = quick(
            "SingleStream",
            "performance",
            "fp32",
            "onnx",
            graph_optimization=level,
            profile_ops="true",
        )
        ran = bench.run(configuration)
        assert ran.code == 0, ran.stderr
        assert ran.result["parameters"]["graph_optimization"] == level
        found = operators(ran)
        counts[level] = sum(row["count"] for row in found["operators"]) / found["calls"]
    assert counts["all"] < counts["disabled"], "fused operators run as one"


def test_the_other_switches_of_onnx_runtime_are_accepted(bench: Any, quick: Any) -> None:
    ran = bench.run(
        quick(
            "Offline",
            "performance",
            execution_mode="parallel",
            inter_op_threads="2",
            cpu_mem_arena="false",
            mem_pattern="false",
            execution_provider="cpu",
        )
    )
    assert ran.code == 0, ran.stderr
    assert ran.result["runtime"]["provider"] == "CPUExecutionProvider"
    assert ran.result["parameters"]["cpu_mem_arena"] is False


@pytest.mark.parametrize("variation", ["onnxruntime-1.28", "onnxruntime-1.32"])
def test_an_execution_provider_is_never_replaced_silently(
    bench: Any, quick: Any, variation: str
) -> None:
    configuration = quick("SingleStream", "performance", variation)
    absent = bench.run(configuration, changed(execution_provider="cuda"))
    assert absent.code == BAD_JOB
    assert "on this device has no execution provider cuda; it has " in absent.stderr
    assert not (absent.out / "result.json").exists()
    # This provider is in every wheel, and runs only operators that call a remote service.
    unused = bench.run(configuration, changed(execution_provider="azure"))
    assert unused.code == BAD_JOB
    assert not (unused.out / "result.json").exists()
    message = unused.stderr.strip().splitlines()[-1]
    assert "AzureExecutionProvider runs no operator of the model" in message or (
        "AzureExecutionProvider does not run all operators of the model" in message
    )
    assert "on CPUExecutionProvider" in message


@pytest.mark.parametrize("variation", ["tflite", "tflite-runtime"])
def test_litert_without_xnnpack(bench: Any, quick: Any, variation: str) -> None:
    used = {}
    for xnnpack in ("true", "false"):
        ran = bench.run(
            quick("SingleStream", "performance", variation, xnnpack=xnnpack, profile_ops="true")
        )
        assert ran.code == 0, ran.stderr
        used[xnnpack] = ran.result["runtime"]["provider"]
        reason = ran.result["operators"]["unavailable"]
        assert reason.endswith("offers no per-operator profile in Python"), reason
        assert not (ran.out / "operator_profile.json").exists()
    assert used == {"true": "XNNPACK", "false": "builtin"}


def test_openvino_profiles_its_operators_and_takes_its_hints(bench: Any, quick: Any) -> None:
    ran = bench.run(
        quick(
            "Offline",
            "performance",
            "openvino",
            performance_hint="throughput",
            num_streams="1",
            mmap="false",
            profile_ops="true",
        )
    )
    assert ran.code == 0, ran.stderr
    assert ran.result["parameters"]["mmap"] is False
    found = operators(ran)
    assert "Convolution" in {row["operator"] for row in found["operators"]}
    assert all(row["providers"] for row in found["operators"])


def test_opencv_profiles_its_layers(bench: Any, quick: Any) -> None:
    ran = bench.run(quick("Offline", "performance", "fp32", "opencv", profile_ops="true"))
    assert ran.code == 0, ran.stderr
    found = operators(ran)
    assert "Convolution" in {row["operator"] for row in found["operators"]}
    assert found["total_ms"] > 0


def test_openvino_computes_in_the_precision_or_refuses(bench: Any, quick: Any) -> None:
    ran = bench.run(quick("SingleStream", "performance", "openvino", inference_precision="f16"))
    if ran.code != 0:
        assert ran.code == BAD_JOB
        assert "does not compute in inference_precision=f16: OpenVINO uses " in ran.stderr


@pytest.mark.parametrize(
    ("variation", "parameters", "named"),
    [
        ("onnx", {"xnnpack": False}, "xnnpack does not apply to runtime onnxruntime"),
        ("tflite", {"mem_pattern": True}, "mem_pattern does not apply to runtime tflite"),
        ("openvino", {"mmap": "off"}, "mmap is 'off', expected true or false"),
        ("openvino", {"cpu_mem_arena": True}, "cpu_mem_arena does not apply to runtime openvino"),
        ("onnx", {"graph_optimization": "most"}, "expected one of disabled, basic, extended, all"),
        ("onnx", {"inter_op_threads": 0}, "inter_op_threads is 0"),
        ("tflite", {"xnnpack": "no"}, "xnnpack is 'no', expected true or false"),
        ("onnx", {"profile_ops": 1}, "profile_ops is 1, expected true or false"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused_by_name(
    bench: Any, quick: Any, variation: str, parameters: dict[str, Any], named: str
) -> None:
    ran = bench.run(quick("SingleStream", "performance", variation), changed(**parameters))
    assert ran.code == BAD_JOB
    assert named in ran.stderr.strip().splitlines()[-1]


def test_accuracy_runs_have_phases_and_no_profile(bench: Any, quick: Any) -> None:
    ran = bench.run(quick("Offline", "accuracy", profile_ops="true"))
    assert ran.code == 0, ran.stderr
    assert all(ran.result["phases"][name] > 0 for name in PHASES)
    assert "operators" not in ran.result
    assert json.loads((ran.out / "mlperf_log_accuracy.json").read_text())
