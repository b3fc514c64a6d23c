"""Parameters that belong to one runtime: typed, left out of others, refused where none has them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_catalog.load import load_catalog
from fleetmark_catalog.resolve import Configuration, expand, resolve
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.parameter_values import runtime_mismatch
from fleetmark_harness.adapters import _MODULES
from fleetmark_harness.adapters.options import RUNTIME_PARAMETERS, runtime_options
from fleetmark_harness.exit_codes import BAD_JOB, JobError
from tests.support.sample_devices import HARNESS, interpreter, sample_device

CATALOG = load_catalog()
ONE: dict[str, Any] = {"scenarios": ["SingleStream"], "modes": ["performance"]}
PROGRAMS = CATALOG.all("program")
DEFINITIONS: dict[str, Any] = CATALOG.get("program", "raw-tensors").body["parameters"]
OF_RUNTIMES = {name: d["runtimes"] for name, d in DEFINITIONS.items() if "runtimes" in d}


def grid(*variations: str, benchmark: str = "fashion-mnist", **values: str) -> list[Configuration]:
    parameters = {name: text.split(",") for name, text in values.items()}
    return expand(CATALOG, benchmark, variations=variations, parameters=parameters, **ONE)


def test_the_harness_knows_the_same_parameters_as_the_catalog() -> None:
    by_runtime: dict[str, set[str]] = {}
    for name, runtimes in OF_RUNTIMES.items():
        for runtime in runtimes:
            by_runtime.setdefault(runtime, set()).add(name)
    assert by_runtime == {name: set(names) for name, names in RUNTIME_PARAMETERS.items()}
    assert set(by_runtime) <= set(_MODULES)


def test_every_program_under_loadgen_has_them() -> None:
    assert len(PROGRAMS) >= 5
    for program in PROGRAMS:
        assert program.body["parameters"].keys() >= DEFINITIONS.keys(), program.name
        roles = {out["name"]: out for out in program.body["outputs"]}
        assert roles["operator_profile.json"] == {
            "name": "operator_profile.json",
            "role": "operator_profile",
            "required": False,
        }


def test_values_are_typed() -> None:
    (found,) = grid(
        graph_optimization="basic",
        execution_mode="parallel",
        inter_op_threads="2",
        cpu_mem_arena="false",
        mem_pattern="no",
        execution_provider="cuda",
    )
    assert found.parameters == {
        "graph_optimization": "basic",
        "execution_mode": "parallel",
        "inter_op_threads": 2,
        "cpu_mem_arena": False,
        "mem_pattern": False,
        "execution_provider": "cuda",
    }
    (found,) = grid("tflite", xnnpack="false")
    assert found.parameters == {"xnnpack": False}
    (found,) = grid(
        "openvino",
        performance_hint="throughput",
        num_streams="2",
        inference_precision="bf16",
        mmap="false",
    )
    assert found.parameters == {
        "performance_hint": "throughput",
        "num_streams": 2,
        "inference_precision": "bf16",
        "mmap": False,
    }


@pytest.mark.parametrize(
    ("variations", "name", "value", "runtime"),
    [
        (("tflite",), "graph_optimization", "basic", "tflite"),
        (("openvino",), "execution_provider", "cpu", "openvino"),
        (("onnx",), "xnnpack", "false", "onnxruntime"),
        (("opencv",), "performance_hint", "latency", "opencv"),
        (("tflite-runtime",), "num_streams", "1", "tflite"),
        (("tflite-runtime", "openvino"), "mem_pattern", "true", "openvino or tflite"),
    ],
)
def test_a_parameter_that_no_runtime_has_is_refused_by_name(
    variations: tuple[str, ...], name: str, value: str, runtime: str
) -> None:
    with pytest.raises(FleetmarkError) as caught:
        grid(*variations, **{name: value})
    assert caught.value.kind is ErrorKind.UNKNOWN_WORD
    assert caught.value.what == f"parameter {name} does not apply to runtime {runtime}"
    assert caught.value.next_step == f"It applies to {', '.join(OF_RUNTIMES[name])}"


def test_a_wrong_value_is_refused_with_the_allowed_ones() -> None:
    with pytest.raises(FleetmarkError, match="Allowed: one of disabled, basic, extended, all"):
        grid(graph_optimization="some")
    with pytest.raises(FleetmarkError, match="one of cpu, acl"):
        grid(execution_provider="gpu")
    with pytest.raises(FleetmarkError, match="Did you mean 'batch_size'"):
        grid(batch_sise="1")


def test_a_runtime_without_the_parameter_runs_once_without_it() -> None:
    runtimes = ("onnxruntime-1.28", "openvino", "tflite-runtime")
    found = grid(*runtimes, graph_optimization="all,disabled", threads="1,2")
    seen = [(*set(c.variations) & set(runtimes), c.parameters) for c in found]
    plain = [{"threads": 1}, {"threads": 2}]
    assert [parameters for word, parameters in seen if word == "tflite-runtime"] == plain
    assert [parameters for word, parameters in seen if word == "openvino"] == plain
    assert [parameters for word, parameters in seen if word == "onnxruntime-1.28"] == [
        {"graph_optimization": level, "threads": threads}
        for level in ("all", "disabled")
        for threads in (1, 2)
    ]


def test_a_suite_with_several_runtimes_takes_a_parameter_of_one() -> None:
    found = expand(CATALOG, "default", parameters={"xnnpack": ["false"]}, **ONE)
    assert {("tflite" in c.variations, bool(c.parameters)) for c in found} == {
        (True, True),
        (False, False),
    }


def test_the_defaults_are_in_the_lockfile() -> None:
    device = dataclasses.replace(sample_device(), interpreters=(interpreter("3.11"),))
    resolution = resolve(CATALOG, grid()[0], device, HARNESS)
    assert resolution.lock is not None, resolution.reasons
    defaults = resolution.lock.job["defaults"]
    assert {name: defaults[name] for name in OF_RUNTIMES if name in defaults} == {
        "graph_optimization": "all",
        "execution_mode": "sequential",
        "inter_op_threads": 1,
        "cpu_mem_arena": True,
        "mem_pattern": True,
        "execution_provider": "cpu",
        "xnnpack": True,
        "performance_hint": "latency",
        "inference_precision": "f32",
        "mmap": True,
    }
    assert defaults["profile_ops"] is False
    assert "operator_profile.json" in {output.name for output in resolution.lock.program.outputs}


@given(
    st.sampled_from(sorted(_MODULES)),
    st.dictionaries(st.sampled_from(sorted(DEFINITIONS)), st.integers(0, 1), max_size=5),
)
def test_device_and_harness_refuse_the_same_parameters(runtime: str, given: dict[str, Any]) -> None:
    """The controller and the device check the definition, the harness its own table."""
    wrong = runtime_mismatch(given, DEFINITIONS, runtime)
    foreign = sorted(n for n in given if n in OF_RUNTIMES and runtime not in OF_RUNTIMES[n])
    parameters = {name: d["default"] for name, d in DEFINITIONS.items() if "default" in d} | given
    if not foreign:
        assert wrong == ""
        options = runtime_options(runtime, parameters, given)
        assert options.keys() <= set(RUNTIME_PARAMETERS.get(runtime, ()))
        assert all(options[name] == parameters[name] for name in options)
        return
    assert wrong.startswith(f"parameter {foreign[0]} does not apply to runtime {runtime}, only to ")
    with pytest.raises(JobError, match=f"does not apply to runtime {runtime}") as caught:
        runtime_options(runtime, parameters, given)
    assert caught.value.code == BAD_JOB
    assert any(name in caught.value.what for name in foreign)


def test_the_components_name_adapters_that_exist() -> None:
    folder = Path(CATALOG.get("program", "raw-tensors").path("main.py")).parent
    assert 'runtimes = ["onnxruntime"]' in (folder / "component.toml").read_text()
    adapters = {part.body.get("adapter", part.name) for part in CATALOG.all("package")}
    assert {runtime for runtimes in OF_RUNTIMES.values() for runtime in runtimes} <= adapters
