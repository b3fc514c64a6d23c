"""The end of a trial: the cause of a refusal is complete; a fault of the machine refuses none."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.artifacts.model_formats.model_graph import GraphFacts, Tensor
from fleetmark_controller.artifacts.model_formats.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.model_import.components import Footprint
from fleetmark_controller.artifacts.model_import.plan import plan_import
from fleetmark_controller.trial.child import means_problem
from fleetmark_controller.trial.outcome import (
    SKIP,
    EndedChild,
    ExceededLimit,
    outcome_of,
    tried_plan,
)
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.sandbox.plan import SandboxCapabilities
from fleetmark_core.sandbox_levels import LEVELS

RESULT: dict[str, Any] = {
    "load_ms": 12.5,
    "first_ms": 3.0,
    "run_ms": 2.0,
    "peak_memory_bytes": (60 << 20) + 1,
    "samples_per_call": 8,
    "runtime": {"name": "onnxruntime", "version": "1.23.2", "provider": "CPU"},
    "outputs": [{"shape": [1, 7], "dtype": "float32", "nonfinite": True}],
}


def ended(
    code: int = 0, output: str = "", error: str = "", stopped_for: ExceededLimit | None = None
) -> EndedChild:
    lines = error.splitlines()
    return EndedChild(code, output, lines, stopped_for, 300.0, 4_000_000_000, 200_000_000)


def test_the_measurements_of_a_run() -> None:
    outcome = outcome_of(ended(output="noise\n" + json.dumps(RESULT) + "\n"), "m.onnx")
    assert outcome.not_tried == ""
    assert (outcome.runtime, outcome.runtime_version) == ("onnxruntime", "1.23.2")
    assert (outcome.load_ms, outcome.first_ms, outcome.run_ms) == (12.5, 3.0, 2.0)
    assert outcome.footprint == Footprint(61 << 20, 8)


LAST = "fleetmark: trial failed: the model does not run: "
REFUSALS = {
    "a fault of the model": (
        ended(11, error=f"Traceback\n{LAST}indices element out of data bounds, idx=5"),
        "the model does not run: indices element out of data bounds, idx=5",
    ),
    "an unexpected fault": (ended(1, error=f"{LAST}boom"), "boom"),
    "a crash": (ended(-signal.SIGSEGV, error="fatal"), "SIGSEGV, signal 11: fatal"),
    "an abort": (ended(-signal.SIGABRT), "SIGABRT, signal 6"),
    "the kernel": (ended(-signal.SIGKILL), "without memory; the trial may use 4.0 GB"),
    "memory": (
        ended(14, error=f"{LAST}Failed to allocate memory for requested buffer of size 4294967296"),
        "runs out of memory: the trial may use 4.0 GB",
    ),
    "time": (ended(-9, stopped_for=ExceededLimit.TIME), "did not finish within 300 s"),
    "disk": (ended(-9, stopped_for=ExceededLimit.DISK), "wrote more than 200.0 MB of files"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_model_that_does_not_run_is_refused_with_its_cause(case: str) -> None:
    child, says = REFUSALS[case]
    with pytest.raises(FleetmarkError) as caught:
        outcome_of(child, "m.onnx")
    assert caught.value.kind is ErrorKind.BAD_DOCUMENT
    assert says in str(caught.value)
    assert caught.value.where == "m.onnx"
    assert caught.value.next_step == SKIP


def test_a_model_that_does_not_run_with_a_given_shape_may_need_another() -> None:
    child = ended(11, error=f"{LAST}Non concat axis dimensions must match")
    with pytest.raises(FleetmarkError) as caught:
        outcome_of(child, "m.onnx", ("x=1x3x224x224",))
    assert caught.value.next_step == (
        f"The model may need another shape than x=1x3x224x224. {SKIP}"
    )
    with pytest.raises(FleetmarkError) as caught:
        outcome_of(ended(-signal.SIGSEGV), "m.onnx", ("x=1x3x224x224",))
    assert caught.value.next_step == SKIP


@pytest.mark.parametrize("code", [10, 12, 127, 2])
def test_a_fault_of_the_machine_refuses_no_model(code: int) -> None:
    says = "runtime onnxruntime cannot be loaded: illegal instruction"
    outcome = outcome_of(ended(code, error=f"fleetmark: trial failed: {says}"), "m.onnx")
    assert outcome.not_tried == says
    assert outcome.footprint is None
    assert outcome_of(ended(code), "m.onnx").not_tried == f"the trial ended with exit code {code}"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(key=st.sampled_from(sorted(RESULT)), value=JSON)
def test_a_false_result_never_becomes_a_figure(key: str, value: object) -> None:
    outcome = outcome_of(ended(output=json.dumps({**RESULT, key: value})), "m.onnx")
    if not outcome.not_tried:
        assert outcome.footprint is not None
        assert 0 < outcome.peak_memory_bytes < 1 << 50
        assert 0 <= outcome.run_ms < 1e12
        assert all(0 <= size < 1 << 32 for one in outcome.outputs for size in one.shape)


@pytest.mark.parametrize("output", ["", "\n", "{", "[]", "null", "{}", "1" * 5000])
def test_no_result_is_not_tried(output: str) -> None:
    assert outcome_of(ended(output=output), "m.onnx").not_tried


def test_a_run_shows_the_sizes_that_the_file_leaves_open() -> None:
    inputs = (Tensor("x", "float32", (0, 4), ("n", "")),)
    outputs = (Tensor("y", "float32", (0, 0), ("n", "")),)
    plan = plan_import(OnnxDescription(8, 17, inputs, outputs, (), GraphFacts()))
    assert plan.outputs[0].sizes == (1, 0)
    tried = tried_plan(plan, outcome_of(ended(output=json.dumps(RESULT)), "m.onnx"))
    assert tried.outputs[0].sizes == (1, 7)
    assert any("output y has NaN or infinite values" in note for note in tried.notes)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("network", ["namespace", "tcp", "open"])
def test_a_model_never_runs_where_it_could_see_keys(level: str, network: str) -> None:
    is_confined = level in ("landlock", "bubblewrap") and network != "open"
    assert (means_problem(SandboxCapabilities(level, network)) == "") == is_confined
