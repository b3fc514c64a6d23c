"""Values of a model's inputs: of files, of data sets, of several inputs, on any batch axis."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_harness.adapters import constants
from fleetmark_harness.adapters.fixed_batch import FixedBatch
from fleetmark_harness.adapters.one_by_one import OneByOne
from fleetmark_harness.exit_codes import BAD_INPUT, JobError
from fleetmark_harness.sample_values import DatasetValues, Feeds, RandomValues, stored_arrays
from fleetmark_harness.sut import Library, checked_answers
from fleetmark_harness.tensors import RandomTensors, with_values

Array = npt.NDArray[Any]
SAMPLES = 20


class TwoInputs:
    """A model whose answer to a sample follows from both of its inputs.

    Args:
        size: samples per call; 0 for any number.
        axis: axis of the output with the batch.
    """

    version, provider, input_name = "1", "CPU", "ids"
    input_shape, dtype = (4,), np.int64

    def __init__(self, size: int = 0, axis: int = 0) -> None:
        self.samples_per_call, self.fixed_batch = size or 1, size > 0
        self._size, self._axis = size, axis

    def prepare(self, values: Array) -> Array:
        return values

    def run(self, batch: Array) -> Array:
        raise AssertionError("the mask is missing")

    def call(self, feeds: Mapping[str, Array]) -> list[Array]:
        ids, mask = feeds["ids"], feeds["mask"]
        assert len(ids) == len(mask)
        if self._size:
            assert len(ids) == self._size, "the batch is not full"
        scores = np.zeros((len(ids), 3, 64), np.float32)
        scores[np.arange(len(ids)), 1, (ids * mask).sum(axis=1) % 64] = 1
        return [np.moveaxis(scores, 0, self._axis), np.zeros(1)]


def task_of(
    adapter: Any, batch_size: int, arrays: Mapping[str, Array] | None = None, **model: Any
) -> RandomTensors:
    tables = {
        "dataset": {"samples": SAMPLES, "seed": 3, "layout": "tensors"},
        "model": {
            "input": {"name": "ids", "shape": [4], "dtype": "int64", "range": [0, 9]},
            "constants": [
                {
                    "name": "mask",
                    "shape": [1, 4],
                    "dtype": "int64",
                    "range": [0, 1],
                    "batch_axis": 0,
                }
            ],
            "output": {},
            **model,
        },
    }
    job: Any = SimpleNamespace(table=tables.__getitem__)
    return RandomTensors(job, adapter, batch_size, arrays)


def expected(task: RandomTensors) -> Array:
    """The answer to each sample, from its two inputs."""
    both = task.prepare(np.arange(SAMPLES)).arrays
    totals: Array = (both["ids"] * both["mask"]).sum(axis=1) % 64
    return totals + 64


@given(
    batch=st.integers(2, 7),
    order=st.permutations(list(range(SAMPLES))),
    axis=st.sampled_from([0, 1]),
)
def test_inputs_of_a_sample_stay_together(batch: int, order: list[int], axis: int) -> None:
    adapters: list[Any] = [
        TwoInputs(axis=axis),
        TwoInputs(batch, axis),
        OneByOne(TwoInputs(1, axis)),
        FixedBatch(TwoInputs(5, axis), 5, axis),
    ]
    for adapter in adapters:
        task = task_of(adapter, batch, output={"batch_axis": axis} if axis else {})
        library = Library(task)
        library.load(range(SAMPLES))
        wanted = expected(task)
        # The harness calibrates with full batches first.
        task.answer(task.run(library.take(np.arange(batch))))
        for first in range(0, SAMPLES, batch):
            chosen = np.array(order[first : first + batch])
            answers = checked_answers(task.answer(task.run(library.take(chosen))), len(chosen))
            # Transposed, the rows of scores of a sample have the same positions.
            assert answers.tolist() == wanted[chosen].tolist()


def test_single_samples_of_several_inputs() -> None:
    task = task_of(TwoInputs(), 1)
    library = Library(task)
    library.load(range(SAMPLES))
    for index in (0, 7, 19):
        single = library.singles[index]
        assert isinstance(single, Feeds)
        assert task.answer(task.run(single)).tolist() == [expected(task)[index]]


def test_each_input_has_values_of_its_own() -> None:
    both = task_of(TwoInputs(), 1).prepare(np.arange(SAMPLES)).arrays
    assert set(np.unique(both["mask"])) == {0, 1}
    assert both["ids"].max() > 1
    assert len(np.unique(both["mask"], axis=0)) > 1


@pytest.mark.parametrize("sizes", [(4, 4), (4, 3)])
def test_the_declared_axis_is_the_batch_even_if_another_has_its_size(
    sizes: tuple[int, int],
) -> None:
    adapter: Any = SimpleNamespace(run=None, input_shape=(2,), dtype=np.dtype(np.float32))
    job: Any = SimpleNamespace(
        table={
            "dataset": {"samples": SAMPLES},
            "model": {"input": {}, "output": {"batch_axis": 1}},
        }.__getitem__
    )
    steps, batch = sizes[0], 4
    task = RandomTensors(job, adapter, batch)
    output = np.zeros((steps, batch, 5))
    output[2, range(batch), [4, 3, 2, 1]] = 1
    assert (task.answer(output) % 5).tolist() == [4, 3, 2, 1]


def test_normal_values() -> None:
    source = RandomValues({"normal": [5, 2]}, (100, 100), np.float32, [1])
    values = source.take(np.arange(3))
    assert values.dtype == np.float32
    assert abs(values.mean() - 5) < 0.1
    assert abs(values.std() - 2) < 0.1
    assert np.array_equal(source.take(np.array([2, 0]))[0], values[2])


def test_samples_of_an_array_begin_again_after_the_last_one() -> None:
    stored = np.arange(12).reshape(3, 4)
    task = task_of(
        TwoInputs(),
        1,
        {"a0": stored},
        input={"name": "ids", "shape": [4], "dtype": "int64", "array": "a0"},
        constants=[],
    )
    assert np.array_equal(task.prepare(np.arange(7)), stored[[0, 1, 2, 0, 1, 2, 0]])


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((3, 5), np.int64), "needs int64 [4] per sample"),
        (np.zeros((3, 4), np.int32), "is int32"),
        (np.zeros((0, 4), np.int64), "is int64 [0, 4]"),
        (None, "have no array 'a0'"),
    ],
)
def test_an_array_that_does_not_fit_is_a_bad_input(array: Array | None, says: str) -> None:
    arrays = {} if array is None else {"a0": array}
    tensor = {"name": "ids", "shape": [4], "dtype": "int64", "array": "a0"}
    with pytest.raises(JobError) as caught:
        task_of(TwoInputs(), 1, arrays, input=tensor)
    assert caught.value.code == BAD_INPUT
    assert says in caught.value.what


def test_constants_of_arrays_and_ranges() -> None:
    model = {
        "constants": [
            {"name": "anchors", "shape": [2, 2], "dtype": "float32", "array": "a0"},
            {
                "name": "state",
                "shape": [3, 1, 2],
                "dtype": "float32",
                "range": [5, 6],
                "batch_axis": 1,
            },
            {"name": "one", "shape": [1], "dtype": "int64", "value": 7},
            {"name": "mask", "shape": [1, 4], "dtype": "int64", "range": [0, 1], "batch_axis": 0},
        ]
    }
    anchors = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
    table = with_values(model, {"a0": anchors}, seed=1)
    found = {name: value for name, (value, _) in constants(table, 6).items()}
    assert np.array_equal(found["anchors"], anchors[0])
    assert found["state"].shape == (3, 6, 2)
    assert np.array_equal(found["state"][:, :1], found["state"][:, 5:])
    assert 5 <= found["state"].min() < found["state"].max() <= 6
    assert found["one"].tolist() == [7]


def test_damaged_values_are_a_bad_input(tmp_path: Path) -> None:
    (tmp_path / "v.npz").write_bytes(b"PK\x03\x04")
    job: Any = SimpleNamespace(
        table={"dataset": {"layout": "tensors"}}.__getitem__, input=lambda _: tmp_path / "v.npz"
    )
    with pytest.raises(JobError) as caught:
        stored_arrays(job)
    assert caught.value.code == BAD_INPUT
    np.savez(tmp_path / "v.npz", x=np.array([print], object))
    with pytest.raises(JobError, match="cannot be read"):
        stored_arrays(job)


@pytest.mark.parametrize(
    ("table", "prepared"),
    [
        ({}, [0, 128, 255]),
        ({"scale": 1 / 255}, [0, 128 / 255, 1]),
        ({"dtype": "int8"}, [-128, 0, 127]),
        ({"dtype": "uint8"}, [0, 128, 255]),
        # Real numbers, which the adapter quantizes: pixels would all be the largest integer.
        ({"dtype": "int8", "scale": 1 / 255}, [0, 128 / 255, 1]),
    ],
)
def test_samples_of_a_data_set_in_the_type_of_the_input(
    table: dict[str, Any], prepared: list[float]
) -> None:
    pixels = np.array([[0, 128, 255]], np.uint8)
    adapter: Any = SimpleNamespace(prepare=lambda values: values)
    source = DatasetValues(pixels, {"name": "image", **table}, (3,), adapter)
    assert np.allclose(source.take(np.zeros(1, np.int64))[0], prepared)
