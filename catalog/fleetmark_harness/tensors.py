"""Samples that match a model's signature, for measuring speed without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Adapter
from fleetmark_harness.adapters.fixed_batch import FixedBatch
from fleetmark_harness.adapters.one_by_one import OneByOne
from fleetmark_harness.exit_codes import BAD_INPUT, BAD_JOB, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.sample_values import (
    RANDOM,
    STORED,
    Feeds,
    RandomValues,
    Source,
    StoredValues,
    array_of,
    dataset_values,
)
from fleetmark_harness.task import Accuracy

Array = npt.NDArray[Any]
VARYING = ("range", "normal", "array")
"""Keys of an input whose values are not one number."""


class RandomTensors:
    """A model and values of its inputs; there are no labels to compare answers with.

    One input receives the samples. Others whose values differ between samples are given with it,
    and the adapter holds the constant ones.
    """

    def __init__(
        self,
        job: JobSpec,
        adapter: Adapter,
        batch_size: int,
        arrays: Mapping[str, Array] | None = None,
    ) -> None:
        """Set up the task.

        Args:
            job: the job.
            adapter: the loaded model.
            batch_size: maximum number of samples per batch.
            arrays: arrays of the job's data set, by name.

        Raises:
            JobError: BAD_INPUT: the shape of the input is not known, or values do not fit it.
        """
        dataset, model = job.table("dataset"), job.table("model")
        tensor = model.get("input", {})
        self.total_count = int(dataset["samples"])
        self.performance_count = min(
            int(dataset.get("performance_samples", self.total_count)), self.total_count
        )
        shape = tuple(adapter.input_shape)
        if not shape or not all(shape):
            shape = tuple(int(size) for size in tensor.get("shape", ()))
        if not shape:
            raise JobError(
                BAD_INPUT, "neither the model nor its component defines the shape of the input"
            )
        self.run: Callable[[Any], Any] = adapter.run
        self._adapter, self._batch_size = adapter, batch_size
        seed, arrays = int(dataset.get("seed", 0)), arrays or {}
        self._first: Source
        if "array" in tensor:
            self._first = StoredValues(array_of(tensor, arrays, shape, adapter.dtype))
        elif dataset.get("layout", RANDOM) not in (RANDOM, STORED):
            self._first = dataset_values(job, tensor, shape, adapter)
        else:
            self._first = RandomValues(tensor, shape, adapter.dtype, [seed])
        self._others = {
            str(other["name"]): _source(other, arrays, [seed, number])
            for number, other in enumerate(model.get("constants", ()), 1)
            if differs(other)
        }
        if self._others:
            self.run = self._run_together
        # Wrappers return the batch as first axis.
        is_moved = isinstance(adapter, (OneByOne, FixedBatch))
        self._known_axis = 0 if is_moved else model.get("output", {}).get("batch_axis")
        self._batch_axis: int | None = None

    def prepare(self, indices: Array) -> Any:
        """Return the samples with these indices."""
        first = self._first.take(indices)
        if not self._others:
            return first
        others = {name: source.take(indices) for name, source in self._others.items()}
        return Feeds({self._adapter.input_name: first, **others})

    def feeds(self, batch: Any) -> dict[str, Array]:
        """Return prepared samples by the name of their input."""
        return batch.arrays if isinstance(batch, Feeds) else {self._adapter.input_name: batch}

    def _run_together(self, batch: Feeds) -> Array:
        """Run the model on samples of several inputs, and return the first output."""
        count, size = len(batch), self._adapter.samples_per_call
        if not self._adapter.fixed_batch or count % size == 0:
            return self._adapter.call(batch.arrays)[0]
        # A call computes full batches only.
        padded = np.minimum(np.arange(count + -count % size), count - 1)
        output = self._adapter.call(batch[padded].arrays)[0]
        axis = self._batch_axis if self._batch_axis is not None else 0
        if axis < 0 or not output.ndim:
            return output
        cut: Array = np.take(output, range(count), axis)
        return cut

    def answer(self, outputs: Any) -> Array:
        """Return the index of the highest output of each sample, so that the output is read.

        The batch is the axis that the component names, or else the first axis of the output that
        has its size. An output without such an axis belongs to all samples of the batch.
        """
        if self._batch_size == 1 and type(outputs) is np.ndarray:
            # Measured: 0.6 µs, where `np.atleast_1d` takes 3.6 µs.
            place: npt.NDArray[np.integer[Any]] = outputs.reshape(1, -1).argmax(1)
            return place
        values = np.asarray(outputs)
        if self._batch_size == 1:
            return np.atleast_1d(values.argmax())
        if self._batch_axis is None:
            self._batch_axis = self._find_batch_axis(values.shape)
        if self._batch_axis < 0:
            return np.full(self._batch_size, values.argmax())
        by_sample = np.moveaxis(values, self._batch_axis, 0)
        places: npt.NDArray[np.integer[Any]] = by_sample.reshape(len(by_sample), -1).argmax(axis=-1)
        return places

    def _find_batch_axis(self, sizes: tuple[int, ...]) -> int:
        known = self._known_axis
        if known is not None and known < len(sizes) and sizes[known] == self._batch_size:
            return int(known)
        return sizes.index(self._batch_size) if self._batch_size in sizes else -1

    def score(self, answers: Array) -> Accuracy | None:
        """Raise an error, because the samples have no labels.

        Raises:
            JobError: BAD_JOB, always.
        """
        raise JobError(BAD_JOB, "the samples have no labels: the accuracy cannot be measured")


def differs(tensor: Mapping[str, Any]) -> bool:
    """Return whether an input besides the sample input has other values for each sample."""
    return any(key in tensor for key in VARYING) and tensor.get("batch_axis") == 0


def _source(tensor: Mapping[str, Any], arrays: Mapping[str, Array], seed: list[int]) -> Source:
    shape = [int(size) for size in tensor.get("shape", ())][1:]
    dtype = np.dtype(tensor.get("dtype", "float32"))
    if "array" in tensor:
        return StoredValues(array_of(tensor, arrays, shape, dtype))
    return RandomValues(tensor, shape, dtype, seed)


def with_values(model: Mapping[str, Any], arrays: Mapping[str, Array], seed: int) -> dict[str, Any]:
    """Return the model's table, in which constants that are not one number have an array as value.

    Raises:
        JobError: BAD_INPUT: an array is missing, or does not fit its input.
    """
    constants = [
        tensor
        if differs(tensor) or not any(key in tensor for key in VARYING)
        else {**tensor, "value": _constant_value(tensor, arrays, [seed, number])}
        for number, tensor in enumerate(model.get("constants", ()), 1)
    ]
    return {**model, "constants": constants} if constants else dict(model)


def _constant_value(
    tensor: Mapping[str, Any], arrays: Mapping[str, Array], seed: list[int]
) -> Array:
    shape = [int(size) for size in tensor.get("shape", ())]
    if tensor.get("batch_axis") is not None:
        shape[tensor["batch_axis"]] = 1
    dtype = np.dtype(tensor.get("dtype", "float32"))
    if "array" in tensor:
        return array_of(tensor, arrays, shape, dtype)[:1].reshape(shape)
    return RandomValues(tensor, shape, dtype, seed).take(np.zeros(1, np.int64)).reshape(shape)
