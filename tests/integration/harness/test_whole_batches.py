"""The harness asks for whole batches, counts what was computed, and answers every sample once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_harness.adapters.fixed_batch import FixedBatch
from fleetmark_harness.adapters.one_by_one import OneByOne
from fleetmark_harness.calibrate import Calibration, calibrate
from fleetmark_harness.exit_codes import BAD_INPUT, NO_MEMORY, JobError, code_of, one_line
from fleetmark_harness.results import computed_samples
from fleetmark_harness.settings import RequestedSettings, offline_sample_count, user_conf
from fleetmark_harness.sut import Library, QuerySut, WorkerSut, checked_answers
from fleetmark_harness.tensors import RandomTensors
from tests.support.fake_loadgen import FakeLoadgen

Array = npt.NDArray[Any]
LAYOUTS = ("batch first", "time major", "one value")


class CountingModel:
    """A model on a runtime that computes whole batches; it counts the samples it computed."""

    def __init__(self, batch_size: int, layout: str, fixed: bool) -> None:
        self.input_shape, self.dtype = (3,), np.float32
        self._size, self._layout, self._fixed = batch_size, layout, fixed
        self.computed = 0

    def run(self, batch: Array) -> Array:
        count = len(batch)
        self.computed += self._size if self._fixed else count
        if self._layout == "one value":
            return np.float32(batch.sum())
        outputs = np.stack([batch, -batch], axis=1)  # [N, 2, 3]
        return outputs if self._layout == "batch first" else np.moveaxis(outputs, 0, 1)


def task_of(model: Any, batch_size: int) -> RandomTensors:
    tables = {"dataset": {"samples": 64, "seed": 3}, "model": {"input": {}}}
    job: Any = SimpleNamespace(table=tables.__getitem__)
    return RandomTensors(job, model, batch_size)


def query(count: int) -> Iterator[Any]:
    return (SimpleNamespace(id=1000 + n, index=n % 64) for n in range(count))


@given(
    st.floats(0.01, 1e6),
    st.integers(1, 600_000),
    st.integers(1, 30_000),
    st.integers(1, 300),
)
def test_an_offline_query_has_whole_batches_and_no_fewer_than_loadgen_asks_for(
    rate: float, min_duration_ms: int, minimum: int, batch_size: int
) -> None:
    count = offline_sample_count(rate, min_duration_ms, minimum, batch_size)
    assert count % batch_size == 0
    assert count >= minimum
    if batch_size > 1:
        # LoadGen takes the larger one of this count and its own estimate.
        estimate = 1.1 * rate * min_duration_ms / 1000
        assert count > math.floor(estimate)
        assert count < max(estimate + 2, minimum) + batch_size
    else:
        assert count == minimum


def test_user_conf_has_the_count() -> None:
    slow = Calibration(latency_ns=11_000_000_000, batch_size=32, run_count=2, warmup_count=2)
    settings = {"min_duration_ms": 1000, "min_query_count": 1}
    text = user_conf("Offline", settings, slow, RequestedSettings(1000))
    assert "*.Offline.min_query_count = 32\n" in text, (
        "a whole batch, not the 4 that rate × time has"
    )
    single = Calibration(latency_ns=1_000_000, batch_size=1, run_count=8, warmup_count=8)
    assert "min_query_count = 1\n" in user_conf(
        "Offline", settings, single, RequestedSettings(1000)
    )


@given(
    st.sampled_from(LAYOUTS),
    st.booleans(),
    st.integers(1, 40),
    st.integers(1, 6),
    st.integers(0, 39),
)
def test_every_sample_is_answered_once_from_inside_the_buffer(
    layout: str, fixed: bool, batch_size: int, batches: int, missing: int
) -> None:
    """Also if the batch is not the first axis of the output, or the output has no batch axis."""
    model = CountingModel(batch_size, layout, fixed)
    task = task_of(model, batch_size)
    task.answer(task.run(task.prepare(np.arange(batch_size) % 64)))  # as the calibration does
    model.computed = 0
    count = max(1, batches * batch_size - (missing if layout == "batch first" else 0))
    loadgen, library = FakeLoadgen(), Library(task)
    library.load(range(64))
    sut = WorkerSut(loadgen, task, library, np.full(64, -1, np.int32), count, batch_size)
    sut.issue(list(query(count)))
    sut.close()
    assert sorted(loadgen.answers) == list(range(1000, 1000 + count))
    assert sut.samples.count == count
    measured: Any = SimpleNamespace(sample_count=count, short_batches=sut.short_batches)
    adapter: Any = SimpleNamespace(fixed_batch=fixed, samples_per_call=batch_size)
    job: Any = SimpleNamespace(scenario="Offline")
    assert computed_samples(job, adapter, measured) == model.computed
    assert (not sut.short_batches) == (count % batch_size == 0)
    if layout != "one value":
        expected = task.answer(task.run(library.take(np.arange(batch_size) % 64)))
        again = [loadgen.answers[1000 + n] for n in range(min(count, batch_size))]
        assert again == expected[: len(again)].tolist()


@given(
    st.permutations(range(12)),
    st.lists(st.integers(0, 11), min_size=1, max_size=60),
    st.integers(1, 9),
)
def test_the_order_of_a_query_keeps_its_samples(
    loaded: list[int], query_of: list[int], size: int
) -> None:
    """Each batch has the values of its samples, whether it is copied or a part of the data."""
    task: Any = SimpleNamespace(total_count=12, prepare=lambda indices: indices * 10)
    library = Library(task)
    library.load(loaded)
    indices = np.array(query_of)
    order = library.order(indices)
    assert sorted(order.tolist()) == list(range(len(query_of)))
    ordered = indices[order]
    for number, row in enumerate(library.rows(ordered, size)):
        batch = ordered[number * size : (number + 1) * size]
        found = library.take(batch) if row < 0 else library.data[row : row + len(batch)]
        assert found.tolist() == (batch * 10).tolist()


@given(st.permutations(range(24)), st.integers(1, 4))
def test_a_query_of_all_samples_needs_no_copies(shuffled: list[int], turns: int) -> None:
    task: Any = SimpleNamespace(total_count=24, prepare=lambda indices: indices)
    library = Library(task)
    library.load(shuffled)
    indices = np.tile(shuffled[::-1], turns)
    rows = library.rows(indices[library.order(indices)], 8)
    assert rows == [0, 8, 16] * turns


@given(st.integers(1, 40), st.sampled_from([1, 8]), st.integers(1, 50))
def test_computed_samples_of_queries_count_whole_calls(
    size: int, per_query: int, queries: int
) -> None:
    measured: Any = SimpleNamespace(sample_count=queries * per_query, short_batches=())
    adapter: Any = SimpleNamespace(fixed_batch=True, samples_per_call=size)
    job: Any = SimpleNamespace(scenario="MultiStream", batch_size=per_query)
    expected = queries * math.ceil(per_query / size) * size
    assert computed_samples(job, adapter, measured) == expected


def test_a_wrong_number_of_answers_ends_the_job() -> None:
    assert checked_answers([1, 2, 3], 3).tolist() == [1, 2, 3]
    for answers, count in (([1, 2, 3], 2), ([1], 8), ([[1, 2]], 2)):
        with pytest.raises(JobError, match="its first axis is not the batch") as caught:
            checked_answers(answers, count)
        assert caught.value.code == BAD_INPUT


@given(st.integers(1, 9), st.booleans())
def test_single_calls_are_joined_by_sample(count: int, leading_one: bool) -> None:
    class Single:
        version, provider, input_name = "1", "cpu", "x"
        input_shape, dtype = (2,), np.float32

        def run(self, batch: Array) -> Array:
            assert len(batch) == 1
            return batch if leading_one else np.stack([batch[0]] * 5)[:, None]  # [5, 1, 2]

    values = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    joined = OneByOne(Single()).run(values)
    assert joined.shape == ((count, 2) if leading_one else (count, 5, 1, 2))
    assert (joined.reshape(count, -1)[:, :2] == values).all()


@given(st.lists(st.integers(0, 3), min_size=2, max_size=5), st.booleans())
def test_outputs_of_different_shapes_make_no_batch(boxes: list[int], leading_one: bool) -> None:
    class Detector:
        version, provider, input_name = "1", "cpu", "x"
        input_shape, dtype = (1,), np.float32

        def run(self, batch: Array) -> Array:
            made = np.zeros((boxes[int(batch[0, 0])], 4), np.float32)
            return made[None] if leading_one else made

        def call(self, feeds: dict[str, Array]) -> list[Array]:
            return [self.run(feeds["x"])]

    values = np.arange(len(boxes), dtype=np.float32)[:, None]
    adapter = OneByOne(Detector())
    for call in (lambda: adapter.run(values), lambda: adapter.call({"x": values})[0]):
        if len(set(boxes)) == 1:
            assert len(call()) == len(boxes)
            continue
        with pytest.raises(JobError, match="run the model with batch_size=1") as caught:
            call()
        assert caught.value.code == BAD_INPUT


@given(st.integers(1, 9), st.integers(1, 30), st.sampled_from(LAYOUTS))
def test_a_graph_with_a_fixed_batch_computes_whole_calls(
    size: int, count: int, layout: str
) -> None:
    model: Any = CountingModel(size, layout, fixed=True)
    model.version = model.provider = model.input_name = "x"
    calls: list[int] = []
    run = model.run

    def checked(batch: Array) -> Array:
        calls.append(len(batch))
        return run(batch)

    model.run = checked
    adapter = FixedBatch(model, size)
    values = np.arange(count * 3, dtype=np.float32).reshape(count, 3)
    outputs = adapter.run(values)
    assert calls == [size] * math.ceil(count / size)
    assert model.computed == len(calls) * size
    assert len(outputs) == count
    if layout != "one value" and size not in (2, 3):  # else an axis of the output is ambiguous
        assert (outputs.reshape(count, 2, 3) == np.stack([values, -values], axis=1)).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.0])
def test_outputs_without_a_number_are_noticed(value: float) -> None:
    model = CountingModel(4, "batch first", True)
    task = task_of(model, 4)
    run = task.run
    task.run = lambda batch: run(batch) * np.float32(value)
    progress: Any = SimpleNamespace(report=lambda *_: None)
    found = calibrate(task, 4, 1, 1, progress)
    assert found.nonfinite_outputs == (not math.isfinite(value))


@pytest.mark.parametrize("value", [float("inf"), 1.0])
def test_outputs_of_different_shapes_are_looked_through(value: float) -> None:
    model = CountingModel(4, "batch first", True)
    task = task_of(model, 4)
    run, answer = task.run, task.answer
    boxes: Any = [[np.zeros((2, 4))], [np.full((3, 4), value), "text"], []]
    task.run = lambda batch: [run(batch), boxes]
    task.answer = lambda outputs: answer(outputs[0])
    progress: Any = SimpleNamespace(report=lambda *_: None)
    assert calibrate(task, 4, 1, 1, progress).nonfinite_outputs == (not math.isfinite(value))


@pytest.mark.parametrize(
    "text",
    [
        "Non-zero status code: Failed to allocate memory for requested buffer of size 4294967296",
        "std::bad_alloc",
        "[Errno 12] Cannot allocate memory",
        "CUDA out of memory. Tried to allocate 2 GiB",
    ],
)
def test_out_of_memory_is_named(text: str) -> None:
    assert code_of(RuntimeError(text), BAD_INPUT) == NO_MEMORY
    assert code_of(RuntimeError("Please fix the inputs of the model"), BAD_INPUT) == BAD_INPUT


def test_a_long_message_keeps_its_end() -> None:
    text = one_line(
        RuntimeError("Load failed:\n" + "at frame\n" * 900 + "opset 99 is not supported")
    )
    assert "\n" not in text and len(text) <= 1000
    assert text.startswith("Load failed: ") and text.endswith("opset 99 is not supported")


def test_multistream_checks_its_answers_too() -> None:
    task = task_of(CountingModel(8, "time major", True), 8)
    loadgen, library = FakeLoadgen(), Library(task)
    library.load(range(64))
    sut = QuerySut(loadgen, task, library, np.full(64, -1, np.int32), 8)
    sut.issue(list(query(8)))
    assert len(loadgen.answers) == 8
