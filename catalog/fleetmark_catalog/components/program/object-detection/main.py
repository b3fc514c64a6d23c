"""Detects objects with a single-shot detector under MLPerf LoadGen.

The measured time contains everything that an application waits for: the model, the decoding of its
boxes from anchors, and non-maximum suppression. With labeled pictures, the accuracy is that of the
question whether there is an object at all: the labels are 1 and 0.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fleetmark_harness.adapters import Adapter
from fleetmark_harness.boxes import anchors, suppress
from fleetmark_harness.classify import Classification, open_job
from fleetmark_harness.data import Labeled
from fleetmark_harness.exit_codes import BAD_JOB, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.run import main
from fleetmark_harness.tensor_job import load as load_tensors
from fleetmark_harness.tensors import RandomTensors


class Detection:
    """Images and a detector; the answer is the number of objects, or for labeled images 1 or 0."""

    def __init__(
        self, job: JobSpec, adapter: Adapter, pictures: RandomTensors | Classification
    ) -> None:
        settings = job.table("model").get("settings", {})
        try:
            self._size = int(settings["size"])
            strides = [int(stride) for stride in settings["strides"]]
            each = [int(count) for count in settings["anchors_each"]]
            self._anchors = anchors(self._size, strides, each)
            self._boxes = int(settings["boxes_output"])
            self._scores = int(settings["scores_output"])
            self._threshold = float(settings["score_threshold"])
            self._overlap = float(settings["overlap_threshold"])
        except (KeyError, TypeError, ValueError) as error:
            raise JobError(BAD_JOB, f"model.settings: {error} is missing or wrong") from error
        self.total_count = pictures.total_count
        self.performance_count = pictures.performance_count
        self.prepare = pictures.prepare
        self.score = pictures.score
        self._is_labeled = isinstance(pictures, Classification)
        self._call = adapter.call
        self._input = adapter.input_name

    def run(self, batch: Any) -> Any:
        """Return one pair per image: boxes [kept, 4] from 0 to 1, and their scores."""
        outputs = self._call({self._input: batch})
        return [
            self._decode(boxes, scores)
            for boxes, scores in zip(outputs[self._boxes], outputs[self._scores], strict=True)
        ]

    def _decode(self, boxes: Any, scores: Any) -> tuple[Any, Any]:
        sure = 1.0 / (1.0 + np.exp(-np.clip(scores[:, 0], -80, 80)))
        places = np.flatnonzero(sure >= self._threshold)
        centre = boxes[places, :2] / self._size + self._anchors[places]
        half = boxes[places, 2:4] / self._size / 2
        found = np.concatenate([centre - half, centre + half], axis=1)
        kept = suppress(found, sure[places], self._overlap, 100)
        return found[kept], sure[places][kept]

    def answer(self, outputs: Any) -> Any:
        """Return how many objects were found in each image, for labeled ones at most 1."""
        counts = np.array([len(scores) for _, scores in outputs], np.int32)
        return np.minimum(counts, 1) if self._is_labeled else counts


def load(job: JobSpec, batch_size: int) -> tuple[Adapter, Detection]:
    """Load the model, and read labeled images or create random ones."""
    if job.table("dataset").get("layout") == "random":
        adapter, tensors = load_tensors(job, batch_size)
        return adapter, Detection(job, adapter, tensors)
    adapter, data = open_job(job, batch_size)
    return adapter, Detection(job, adapter, Classification(job, adapter, _colored(job, data)))


def _colored(job: JobSpec, data: Labeled) -> Labeled:
    """Return gray images with as many equal channels as the model has."""
    channels = int(job.table("model").get("input", {}).get("shape", [1])[-1])
    if data.values.ndim != 4 or data.values.shape[-1] != 1:
        return data
    return Labeled(np.repeat(data.values, channels, axis=-1), data.labels)


if __name__ == "__main__":
    sys.exit(main(load))
