"""Accuracy of any model on samples with labels or expected outputs, in a data set of arrays.

The answers to the samples are in LoadGen's accuracy log, from which the controller computes the
metric again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Adapter
from fleetmark_harness.class_maps import ClassMaps
from fleetmark_harness.detections import Detections
from fleetmark_harness.exit_codes import BAD_INPUT, BAD_JOB, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.task import Accuracy
from fleetmark_harness.tensors import RandomTensors
from fleetmark_harness.token_steps import TokenSteps

Array = npt.NDArray[Any]
OUTPUT_METRICS = ("mae", "cosine")
"""Mean absolute error, and mean cosine similarity."""
CLASS_METRICS = ("f1", "miou")
"""Macro-averaged F1, and mean intersection over union."""
TRANSCRIPT_METRICS = ("wer", "cer")
"""Word error rate, and character error rate."""
DETECTION_METRICS = ("map", "map50")
"""Mean average precision of COCO, over the IoU thresholds from 0.50 to 0.95, and at 0.50."""
_TOP = re.compile(r"top-([1-9][0-9]{0,2})")


class LabeledTensors(RandomTensors):
    """A classifier and samples with classes; the answer is the classes with the highest outputs.

    Classes with equal outputs are ordered by their number. A sample with NaN outputs has the
    answer -1, which is never right.
    """

    def __init__(
        self, job: JobSpec, adapter: Adapter, batch_size: int, arrays: Mapping[str, Array]
    ) -> None:
        """Set up the task.

        Args:
            job: the job.
            adapter: the loaded model.
            batch_size: maximum number of samples per batch.
            arrays: arrays of the job's data set, by name.

        Raises:
            JobError: BAD_JOB: the metric is not known; BAD_INPUT: the labels do not fit.
        """
        super().__init__(job, adapter, batch_size, arrays)
        self._metric = str(job.table("benchmark").get("quality", {}).get("metric"))
        match = _TOP.fullmatch(self._metric)
        if match is None:
            raise JobError(BAD_JOB, f"metric {self._metric!r} is not known")
        self._best = int(match[1])
        self.answer_shape = (self._best,) if self._best > 1 else ()
        labels = arrays.get(str(job.table("dataset")["labels"]))
        if labels is None or labels.shape != (self.total_count,) or labels.dtype.kind not in "iu":
            raise JobError(BAD_INPUT, f"the job's values have no {self.total_count} labels")
        self._labels = labels

    def answer(self, outputs: Any) -> Array:
        """Return the best classes of each sample.

        Raises:
            JobError: BAD_INPUT: the output has too few values for each sample.
        """
        values = sample_rows(outputs, self._known_axis)
        is_float = values.dtype.kind == "f"
        if values.shape[1] == 1 and not is_float and self._best == 1:
            # The graph itself chooses the class.
            return values[:, 0].astype(np.int32)
        if values.shape[1] <= self._best:
            raise JobError(
                BAD_INPUT,
                f"{self._metric} needs more than {self._best} outputs per sample, and the model "
                f"has {values.shape[1]}",
            )
        if self._best == 1:
            classes = values.argmax(axis=-1).astype(np.int32)
        else:
            order = np.argsort(-values.astype(np.float64), axis=-1, kind="stable")
            classes = order[:, : self._best].astype(np.int32)
        if is_float:
            classes[np.isnan(values).any(axis=-1)] = -1
        return np.ascontiguousarray(classes)

    def score(self, answers: Array) -> Accuracy:
        """Return the accuracy over the whole data set."""
        hits = answers.reshape(self.total_count, -1) == self._labels[:, None]
        return Accuracy(self._metric, int(hits.any(axis=-1).sum()), self.total_count)


class ExpectedOutputs(RandomTensors):
    """A model and samples with expected outputs; the answer is the whole first output."""

    answer_dtype = np.float32

    def __init__(
        self, job: JobSpec, adapter: Adapter, batch_size: int, arrays: Mapping[str, Array]
    ) -> None:
        """Set up the task; see `LabeledTensors`.

        Raises:
            JobError: BAD_INPUT: there are no expected outputs of the samples.
        """
        super().__init__(job, adapter, batch_size, arrays)
        self._metric = str(job.table("benchmark")["quality"]["metric"])
        wanted = arrays.get(str(job.table("dataset")["labels"]))
        if wanted is None or len(wanted) != self.total_count or wanted.dtype != np.float32:
            what = f"the job's values have no {self.total_count} expected outputs"
            raise JobError(BAD_INPUT, what)
        self._wanted = wanted.reshape(self.total_count, -1)
        self.answer_shape = self._wanted.shape[1:]

    def answer(self, outputs: Any) -> Array:
        """Return the output of each sample.

        Raises:
            JobError: BAD_INPUT: it does not have the type or size of the expected output.
        """
        values = sample_rows(outputs, self._known_axis)
        if values.dtype.kind != "f" or values.shape[1:] != self.answer_shape:
            raise JobError(
                BAD_INPUT,
                f"the model's output has {values.shape[1]} {values.dtype} per sample, expected "
                f"{self.answer_shape[0]} floating-point numbers",
            )
        return np.ascontiguousarray(values, np.float32)

    def score(self, answers: Array) -> Accuracy:
        """Return the mean error or similarity over the whole data set."""
        found, wanted = answers.astype(np.float64), self._wanted.astype(np.float64)
        if self._metric == "mae":
            value = np.abs(found - wanted).mean()
        else:
            lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(wanted, axis=-1)
            products = (found * wanted).sum(axis=-1)
            # An output of zeros has no direction, and counts as 0.
            value = np.divide(products, np.where(lengths > 0, lengths, 1)).mean()
        if not np.isfinite(value):
            raise JobError(BAD_INPUT, "the model has outputs that are NaN or infinite")
        return Accuracy(self._metric, None, self.total_count, float(value))


def labeled_task(
    job: JobSpec, adapter: Adapter, batch_size: int, arrays: Mapping[str, Array]
) -> RandomTensors:
    """Return the task for the metric of the job's benchmark.

    Raises:
        JobError: BAD_JOB: the metric is not known; BAD_INPUT: the data set does not fit.
    """
    metric = _metric(job)
    chosen = _own_answer(job, arrays)
    if chosen is None:
        chosen = ExpectedOutputs if metric in OUTPUT_METRICS else LabeledTensors
    return chosen(job, adapter, batch_size, arrays)


def times_answers(job: JobSpec, arrays: Mapping[str, Array]) -> bool:
    """Return whether a performance run computes the answers of the metric, too.

    The other metrics take the highest output, or the output as it is.
    """
    return _own_answer(job, arrays) is not None


def _own_answer(job: JobSpec, arrays: Mapping[str, Array]) -> type[RandomTensors] | None:
    """Return the task of a metric whose answers need more than the highest output."""
    metric = _metric(job)
    labels = arrays.get(str(job.table("dataset")["labels"]))
    if metric in CLASS_METRICS or (metric == "top-1" and labels is not None and labels.ndim > 1):
        return ClassMaps
    if metric in TRANSCRIPT_METRICS:
        return TokenSteps
    if metric in DETECTION_METRICS:
        return Detections
    return None


def _metric(job: JobSpec) -> str:
    return str(job.table("benchmark").get("quality", {}).get("metric"))


def sample_rows(outputs: Any, axis: int | None) -> Array:
    """Return outputs as [N, values of a sample]; without a known batch axis, it is the first one.

    Raises:
        JobError: BAD_INPUT: the output has no such axis.
    """
    values = np.asarray(outputs)
    if values.ndim <= (axis or 0):
        raise JobError(BAD_INPUT, f"the output {list(values.shape)} has no batch axis")
    values = np.moveaxis(values, axis or 0, 0)
    return values.reshape(len(values), -1)
