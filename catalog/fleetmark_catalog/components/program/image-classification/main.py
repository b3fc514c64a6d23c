"""Classifies images with an ONNX or TFLite model under MLPerf LoadGen."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fleetmark_harness.adapters import Adapter, open_model
from fleetmark_harness.data import LabelledImages, read_images
from fleetmark_harness.job import Job
from fleetmark_harness.run import main
from fleetmark_harness.task import Accuracy


class Classification:
    """A classifier and labelled images; the answer is the class with the highest output."""

    def __init__(self, job: Job, adapter: Adapter, data: LabelledImages) -> None:
        dataset = job.table("dataset")
        tensor = job.table("model")["input"]
        self.total_count = len(data.labels)
        self.performance_count = int(dataset.get("performance_samples", self.total_count))
        self.run = adapter.run
        self._adapter = adapter
        self._data = data
        self._scale = np.float32(tensor.get("scale", 1.0))
        self._shape = tuple(tensor.get("shape", data.images.shape[1:]))
        self._channels_first = tensor.get("layout") == "NCHW"

    def prepare(self, indices: Any) -> Any:
        """Pixels as the model's input: scaled, in its layout and type."""
        values = self._data.images[indices].astype(np.float32) * self._scale
        if self._channels_first:
            values = np.moveaxis(values, -1, 1)
        return self._adapter.prepare(values.reshape(len(indices), *self._shape))

    def answer(self, outputs: Any) -> Any:
        """The class of each sample."""
        return outputs.argmax(axis=-1).astype(np.int32)

    def score(self, answers: Any) -> Accuracy:
        """Top-1 over the whole data set."""
        correct = int((answers == self._data.labels).sum())
        return Accuracy("top-1", correct, self.total_count)


def load(job: Job, batch_size: int) -> tuple[Adapter, Classification]:
    """The data set first: it is quick to check, and a wrong one should not wait for the model."""
    labels = job.inputs.get("labels")
    data = read_images(job.table("dataset"), job.input("dataset"), labels)
    adapter = open_model(
        job.table("runtime"), job.input("model"), job.integer("threads"), batch_size
    )
    return adapter, Classification(job, adapter, data)


if __name__ == "__main__":
    sys.exit(main(load))
