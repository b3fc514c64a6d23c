"""A graph that fixes its batch is resized only if each sample keeps its own answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_harness.adapters.resized_batch import open_resized
from tests.integration.harness.conftest import RUNTIME_VARIATIONS

Array = npt.NDArray[Any]


@pytest.mark.parametrize("runtime", RUNTIME_VARIATIONS)
def test_samples_of_a_batch_keep_their_answers_on_each_runtime(bench: Any, runtime: str) -> None:
    found = bench.run_module(runtime, "tests.support.resized_models", "4")
    assert found["samples_per_call"] == 1
    assert found["together"] == found["all"] == found["alone"] == found["doubled"]


class Resized:
    """A model on a runtime that resizes the batch; its output is `answer(batch)`."""

    input_name, version, provider = "x", "1", "CPU"
    input_shape, fixed_batch = (3,), True

    def __init__(self, size: int, answer: Any, dtype: str = "float32") -> None:
        self.samples_per_call, self._answer, self.dtype = size, answer, dtype

    def run(self, batch: Array) -> Array:
        return self.call({"x": batch})[0]

    def call(self, feeds: Any) -> list[Array]:
        assert len(feeds["x"]) == self.samples_per_call
        found: Array = self._answer(feeds["x"])
        return [found]


def opened(answer: Any, size: int, graph: int, dtype: str = "float32") -> Any:
    request: Any = SimpleNamespace(batch_size=size, table={})
    return open_resized(
        request, graph, lambda count: Resized(count, answer, dtype), (RuntimeError,)
    )


MIXING = {
    "first sample for all": lambda x, own: x + np.tile(x[:own], (-(-len(x) // own), 1))[: len(x)],
    "highest of the batch": lambda x, own: x / np.abs(x).max(),
}
BATCHES = st.integers(1, 9)


@given(st.sampled_from([1]), st.integers(2, 9), st.sampled_from(sorted(MIXING)))
def test_a_graph_that_mixes_samples_gets_its_own_batch(own: int, size: int, kind: str) -> None:
    adapter = opened(lambda x: MIXING[kind](x, own), size, own)
    assert adapter.samples_per_call == own


@given(BATCHES, st.integers(0, 9), st.floats(0, 5e-6), st.sampled_from(["float32", "int32"]))
def test_rounding_and_whole_batches_keep_the_batch(
    size: int, own: int, noise: float, dtype: str
) -> None:
    def answer(x: Array) -> Array:
        rounded = x + noise * len(x) / 9 if dtype == "float32" else x
        return np.asarray(rounded.astype(dtype))

    adapter = opened(answer, size, own, dtype)
    assert adapter.samples_per_call == size
    assert isinstance(adapter, Resized)


@given(st.integers(2, 9))
def test_a_graph_that_cannot_be_resized_gets_its_own_batch(size: int) -> None:
    def answer(x: Array) -> Array:
        if len(x) > 1:
            raise RuntimeError("reshape")
        return x

    adapter = opened(answer, size, 1)
    assert adapter.samples_per_call == 1
    assert np.array_equal(adapter.run(np.ones((size, 3), "float32")), np.ones((size, 3)))


def test_outputs_that_make_no_batch_keep_the_own_batch() -> None:
    calls: list[int] = []

    def answer(x: Array) -> Array:
        calls.append(len(x))
        return np.zeros((1, len(calls), 4), np.float32)

    assert opened(answer, 4, 1).samples_per_call == 1
    assert calls == [1, 1]


def test_memory_that_does_not_suffice_is_reported() -> None:
    def answer(x: Array) -> Array:
        if len(x) > 1:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 4294967296")
        return x

    with pytest.raises(RuntimeError, match="4294967296"):
        opened(answer, 4, 1)
