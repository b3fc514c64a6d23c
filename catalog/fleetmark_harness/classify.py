"""Classification of labeled samples: images, text, audio features."""

from __future__ import annotations

from typing import Any

import numpy as np

from fleetmark_harness.adapters import Adapter, open_job_model
from fleetmark_harness.data import Labeled, read_labeled
from fleetmark_harness.job import JobSpec
from fleetmark_harness.task import Accuracy


class Classification:
    """A classifier and labeled samples; the answer is the class with the highest output."""

    def __init__(
        self, job: JobSpec, adapter: Adapter, data: Labeled, shape: tuple[int, ...] = ()
    ) -> None:
        """Set up the task.

        Args:
            job: the job.
            adapter: the loaded model.
            data: the labeled samples.
            shape: shape of a prepared sample, if it differs from the shape of the model's input.
        """
        model = job.table("model")
        tensor = model["input"]
        self.total_count = len(data.labels)
        performance = int(job.table("dataset").get("performance_samples", self.total_count))
        self.performance_count = min(performance, self.total_count)
        self.run = adapter.run
        self._adapter = adapter
        self._data = data
        self._scale = np.float32(tensor.get("scale", 1.0))
        self._offset = np.float32(tensor.get("offset", 0.0))
        # Words and bytes are indices into a vocabulary, which must not be scaled.
        self._numbers = tensor.get("dtype") in ("int32", "int64")
        self._shape = shape or tuple(tensor.get("shape", data.values.shape[1:]))
        self._channels_first = tensor.get("layout") == "NCHW"
        # Some models have an additional class 0 that is not in the data set.
        self._first_class = int(model.get("output", {}).get("first_class", 0))

    def prepare(self, indices: Any) -> Any:
        """Return samples as the model's input: scaled, in its layout and type."""
        values = self._data.values[indices]
        if not self._numbers:
            values = values.astype(np.float32) * self._scale + self._offset
        if self._channels_first:
            values = np.moveaxis(values, -1, 1)
        return self._adapter.prepare(values.reshape(len(indices), *self._shape))

    def answer(self, outputs: Any) -> Any:
        """Return the class of each sample."""
        classes = outputs.argmax(axis=-1)
        return classes - self._first_class if self._first_class else classes

    def score(self, answers: Any) -> Accuracy:
        """Return the top-1 accuracy over the whole data set."""
        correct = int((answers == self._data.labels).sum())
        return Accuracy("top-1", correct, self.total_count)


def load(job: JobSpec, batch_size: int) -> tuple[Adapter, Classification]:
    """Load the model and the data set, and return the adapter and the task."""
    adapter, data = open_job(job, batch_size)
    return adapter, Classification(job, adapter, data)


def open_job(job: JobSpec, batch_size: int) -> tuple[Adapter, Labeled]:
    """Load the data set and then the model.

    The data set comes first because it is quick to check, so that an invalid one fails early.

    Raises:
        JobError: BAD_JOB, BAD_INPUT, NO_RUNTIME.
    """
    model = job.table("model")
    data = read_labeled(
        job.table("dataset"),
        job.input("dataset"),
        job.inputs.get("labels"),
        model["input"].get("shape", ()),
    )
    return open_job_model(job, batch_size), data
