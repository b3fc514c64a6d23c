"""Per-operator profiles inside a job: reading the runtime's own, the bounded trace, the pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.evaluation import operator_profile
from fleetmark_harness import operators, profile_pass
from fleetmark_harness.adapters.fixed_batch import FixedBatch
from fleetmark_harness.adapters.one_by_one import OneByOne
from fleetmark_harness.job import JobSpec
from fleetmark_harness.operators import (
    OperatorEvent,
    ProfileUnavailable,
    chrome_trace,
    read_ort_profile,
)

TEXT = st.text(max_size=300)
EVENT = st.builds(
    OperatorEvent,
    name=TEXT,
    operator=st.sampled_from(["Conv", "Relu", "MatMul"]),
    start_us=st.floats(0, 1e9),
    duration_us=st.floats(0, 1e6),
    provider=st.sampled_from(["", "CPUExecutionProvider", "jit_avx2"]),
)
CALLS = st.lists(st.lists(EVENT, max_size=4), max_size=6)


def ort_line(category: str, name: str, **args: Any) -> bytes:
    event = {"cat": category, "pid": 1, "tid": 1, "dur": 7, "ts": 3, "ph": "X", "name": name}
    return json.dumps({**event, "args": args}).encode() + b",\n"


def test_the_profile_of_onnx_runtime_is_read_by_call() -> None:
    node = {"op_name": "Conv", "provider": "CPUExecutionProvider", "node_index": "3"}
    lines = [
        b"[\n",
        ort_line("Session", "session_initialization"),
        ort_line("Node", "a_fence_before", op_name="Conv"),
        ort_line("Node", "a_kernel_time", **node),
        ort_line("Node", "b_kernel_time", **{**node, "op_name": "Relu"}),
        ort_line("Session", "model_run"),
        ort_line("Node", "a_kernel_time", **node),
        ort_line("Session", "model_run").rstrip(b",\n"),
        b"\n]\n",
    ]
    calls = read_ort_profile(lines)
    assert [[event.operator for event in call] for call in calls] == [["Conv", "Relu"], ["Conv"]]
    assert calls[0][0] == OperatorEvent("a", "Conv", 3.0, 7.0, "CPUExecutionProvider")


@pytest.mark.parametrize(
    "line", [b"{", b"7", b'{"cat": "Node"}', b'{"cat": "Node", "name": "a_kernel_time"}', b"\xff"]
)
def test_an_unexpected_line_gives_a_reason(line: bytes) -> None:
    with pytest.raises(ProfileUnavailable, match="unexpected line"):
        read_ort_profile([b"[", line])


def test_too_many_events_give_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "MAX_EVENTS", 10)
    line = ort_line("Node", "a_kernel_time", op_name="Conv")
    assert read_ort_profile([line] * 10) == [], "a call that did not end is not a call"
    with pytest.raises(ProfileUnavailable, match="more than 10 events"):
        read_ort_profile([line] * 11)


@given(CALLS, st.integers(300, 3000))
def test_a_trace_has_whole_calls_within_its_limit_and_the_controller_accepts_it(
    calls: list[list[OperatorEvent]], limit: int
) -> None:
    full = [call for call in calls if call]
    try:
        data = chrome_trace(calls, {"runtime": "onnxruntime 1.32.0"}, limit)
    except ProfileUnavailable as error:
        assert str(error)
        assert not full or len(json.dumps([vars(event) for event in full[0]])) > limit / 4
        return
    assert len(data) <= limit
    found = operator_profile.read_profile(data)
    kept = full[: found["calls"]]
    assert sum(row["count"] for row in found["operators"]) == sum(map(len, kept))
    total_us = sum(event.duration_us for call in kept for event in call)
    assert found["total_ms"] == pytest.approx(total_us / 1e3, abs=1e-3)
    assert json.loads(data)["otherData"]["runtime"] == "onnxruntime 1.32.0"


def test_the_controller_accepts_the_largest_trace() -> None:
    assert operators.MAX_TRACE_BYTES < operator_profile.MAX_TRACE_BYTES
    assert operators.MAX_EVENTS <= operator_profile.MAX_EVENTS
    assert operators.TRACE_FILE == "operator_profile.json"


class Profiled:
    """An adapter with a profiler, and a task on it that calls the model several times a batch."""

    input_name, input_shape, dtype = "x", (2,), np.float32
    version, provider, load_ns, fixed_batch, samples_per_call = "1", "CPU", 5, False, 1
    total_count = performance_count = 3

    def __init__(self, calls_per_batch: int = 1, fault: str = "") -> None:
        self.calls: list[list[OperatorEvent]] = []
        self._per_batch, self._fault = calls_per_batch, fault

    def prepare(self, indices: Any) -> Any:
        return np.zeros((len(indices), 2), np.float32)

    def run(self, batch: Any) -> Any:
        if self._fault == "run" and self.calls:
            raise RuntimeError("Failed to allocate memory")
        # The first call takes longest.
        duration_us = 1e6 if not self.calls else 10.0
        for _ in range(self._per_batch):
            self.calls.append([OperatorEvent("n", "Conv", 0.0, duration_us)])
        return batch

    def operator_calls(self) -> list[list[OperatorEvent]]:
        return self.calls[1:] if self._fault == "lost" else self.calls


def job_in(folder: Path) -> JobSpec:
    tables = {"runtime": {"package": "onnxruntime"}}
    return JobSpec("j", 1, "Offline", "performance", "quick", {}, {}, tables, folder, 600.0)


@pytest.mark.parametrize("per_batch", [1, 3])
def test_the_pass_opens_the_model_again_and_leaves_out_the_first_batch(
    tmp_path: Path, per_batch: int
) -> None:
    opened: list[tuple[JobSpec, int]] = []
    model = Profiled(per_batch)

    def load(job: JobSpec, batch_size: int) -> Any:
        opened.append((job, batch_size))
        assert job.profile_folder is not None and job.profile_folder.is_dir()
        return model, model

    found = profile_pass.profile_operators(job_in(tmp_path), load, 4)
    assert found["unavailable"] is None and found["start_unix_ns"] > 0
    assert [size for _, size in opened] == [4]
    assert [path.name for path in tmp_path.iterdir()] == ["operator_profile.json"]
    profile = operator_profile.read_profile((tmp_path / "operator_profile.json").read_bytes())
    assert profile["calls"] == len(model.calls) - per_batch
    assert profile["total_ms"] == pytest.approx(profile["calls"] * 0.01), "without the first batch"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Profiled(fault="run"), "Failed to allocate memory"),
        (Profiled(3, fault="lost"), "calls of the model for"),
        (object(), "has no attribute"),
    ],
)
def test_a_fault_of_the_pass_is_a_reason_and_leaves_no_file(
    tmp_path: Path, model: Any, reason: str
) -> None:
    found = profile_pass.profile_operators(job_in(tmp_path), lambda *_: (model, model), 1)
    assert reason in found["unavailable"]
    assert list(tmp_path.iterdir()) == []


def test_an_adapter_without_a_profiler_is_named() -> None:
    with pytest.raises(ProfileUnavailable, match="no profiler"):
        operators.operator_calls(object())


@pytest.mark.parametrize("wrap", [OneByOne, lambda model: FixedBatch(model, 2)])
def test_wrapped_models_report_their_operators_and_load_time(wrap: Any) -> None:
    model = Profiled()
    wrapped = wrap(model)
    wrapped.run(np.zeros((4, 2), np.float32))
    assert wrapped.load_ns == 5
    assert operators.operator_calls(wrapped) == model.calls != []
