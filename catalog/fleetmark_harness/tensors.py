"""Random samples that match a model's signature, for measuring speed without labeled data.

The same seed gives the same samples on every device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Adapter, open_model
from fleetmark_harness.exit_codes import BAD_INPUT, BAD_JOB, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.task import Accuracy

Array = npt.NDArray[Any]


class RandomTensors:
    """A model and random inputs for it; there are no labels to compare answers with."""

    def __init__(self, job: JobSpec, adapter: Adapter, batch_size: int) -> None:
        dataset, tensor = job.table("dataset"), job.table("model").get("input", {})
        self.total_count = int(dataset["samples"])
        self.performance_count = min(
            int(dataset.get("performance_samples", self.total_count)), self.total_count
        )
        self.run = adapter.run
        self._seed = int(dataset.get("seed", 0))
        shape = tuple(adapter.input_shape)
        if not shape or not all(shape):
            shape = tuple(int(size) for size in tensor.get("shape", ()))
        if not shape:
            raise JobError(
                BAD_INPUT, "neither the model nor its component defines the shape of the input"
            )
        self._shape = shape
        self._dtype = np.dtype(adapter.dtype)
        self._batch_axis: int | None = None
        self._batch_size = batch_size
        whole = self._dtype.kind in "iu"
        limits = np.iinfo(self._dtype) if whole else None
        low, high = tensor.get("range") or ((limits.min, limits.max) if limits else (0.0, 1.0))
        if whole and np.dtype(tensor.get("dtype", "float32")).kind == "f":
            # A quantized input: the declared range is that of the real values, so use the full
            # integer range.
            low, high = (limits.min, limits.max) if limits else (low, high)
        self._low, self._high, self._whole = low, high, whole

    def prepare(self, indices: Array) -> Array:
        """Return the samples with these indices.

        Each sample has its own generator, so that it does not depend on which others are loaded.
        """
        samples = np.empty((len(indices), *self._shape), self._dtype)
        for place, index in enumerate(indices.tolist()):
            generator = np.random.default_rng([self._seed, index])
            if self._whole:
                samples[place] = generator.integers(
                    int(self._low), int(self._high), self._shape, self._dtype, endpoint=True
                )
            elif self._dtype.kind == "b":
                samples[place] = generator.integers(0, 1, self._shape, np.int8, endpoint=True)
            else:
                values = generator.random(self._shape, np.float32)
                samples[place] = values * (self._high - self._low) + self._low
        return samples

    def answer(self, outputs: Any) -> npt.NDArray[np.integer[Any]]:
        """Return the index of the highest output of each sample, so that the output is read.

        The batch is the first axis of the output that has its size. An output without such an axis
        belongs to all samples of the batch.
        """
        values = np.asarray(outputs)
        if self._batch_size == 1:
            return np.atleast_1d(values.argmax())
        if self._batch_axis is None:
            sizes = values.shape
            self._batch_axis = sizes.index(self._batch_size) if self._batch_size in sizes else -1
        if self._batch_axis < 0:
            return np.full(self._batch_size, values.argmax())
        by_sample = np.moveaxis(values, self._batch_axis, 0)
        places: npt.NDArray[np.integer[Any]] = by_sample.reshape(len(by_sample), -1).argmax(axis=-1)
        return places

    def score(self, answers: Array) -> Accuracy:
        """Raise an error, because random samples have no labels.

        Raises:
            JobError: BAD_JOB, always.
        """
        raise JobError(BAD_JOB, "random samples have no labels: the accuracy cannot be measured")


def load(job: JobSpec, batch_size: int) -> tuple[Adapter, RandomTensors]:
    """Load the job's model, and create random samples for it.

    Raises:
        JobError: BAD_JOB in accuracy mode; BAD_INPUT, NO_RUNTIME.
    """
    if job.mode == "accuracy":
        raise JobError(BAD_JOB, "random samples have no labels: the accuracy cannot be measured")
    adapter = open_model(
        job.table("runtime"),
        job.input("model"),
        job.integer("threads"),
        batch_size,
        job.table("model"),
    )
    return adapter, RandomTensors(job, adapter, batch_size)
