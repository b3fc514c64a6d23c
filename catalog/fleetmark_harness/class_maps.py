"""Answers of models that give a class for each sample or position: tagging and segmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.adapters import Adapter
from fleetmark_harness.exit_codes import BAD_INPUT, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.tensors import RandomTensors

Array = npt.NDArray[Any]
NO_CLASS = {"uint8": 255, "int32": -1}
"""Types of labels and of answers, and the value of a position without class."""


class ClassMaps(RandomTensors):
    """A model and samples with a class for each position; the answer is the map of classes.

    The first output has the scores of the classes on the axis without which it has the shape of the
    labels, or it is the map itself. The answer has the type of the labels. Of equal scores, the
    lower class is chosen. A position with NaN scores has no class; nor has one whose value in a map
    is that of no class, as models mark what they do not know.
    """

    def __init__(
        self, job: JobSpec, adapter: Adapter, batch_size: int, arrays: Mapping[str, Array]
    ) -> None:
        """Set up the task; see `LabeledTensors`.

        Raises:
            JobError: BAD_INPUT: there are no such labels of the samples.
        """
        super().__init__(job, adapter, batch_size, arrays)
        labels = arrays.get(str(job.table("dataset")["labels"]))
        if labels is None or len(labels) != self.total_count or str(labels.dtype) not in NO_CLASS:
            raise JobError(BAD_INPUT, f"the job's values have no {self.total_count} label maps")
        self._shape = labels.shape[1:]
        self._none = NO_CLASS[str(labels.dtype)]
        self._limit = self._none if self._none > 0 else np.iinfo(np.int32).max
        self.answer_dtype = labels.dtype
        self.answer_shape = (int(np.prod(self._shape)),) if self._shape else ()
        self._axes: dict[tuple[tuple[int, ...], bool], int | None] = {}

    def answer(self, outputs: Any) -> Array:
        """Return the map of classes of each sample.

        Raises:
            JobError: BAD_INPUT: the output does not fit the labels.
        """
        values = np.asarray(outputs)
        batch = self._known_axis or 0
        if values.ndim <= batch:
            raise JobError(BAD_INPUT, f"the output {list(values.shape)} has no batch axis")
        if batch:
            values = np.moveaxis(values, batch, 0)
        is_float = values.dtype.kind == "f"
        key = (values.shape[1:], is_float)
        if key not in self._axes:
            self._axes[key] = class_axis(values.shape[1:], self._shape, is_float)
            self._check_classes(values, self._axes[key])
        axis = self._axes[key]
        if axis is None:
            low, high = values.min(), values.max()
            if low < min(0, self._none) or high > max(self._limit - 1, self._none):
                wrong = low if low < 0 else high
                raise JobError(
                    BAD_INPUT,
                    f"the output has the class {wrong}, expected 0 to {self._limit - 1}, "
                    f"or {self._none} for no class",
                )
            classes = values.astype(self.answer_dtype)
        else:
            best = values.argmax(axis=axis + 1)
            classes = best.astype(self.answer_dtype)
            if is_float:
                # argmax chooses NaN where there is one.
                chosen = np.take_along_axis(values, np.expand_dims(best, axis + 1), axis + 1)
                classes[np.isnan(chosen).reshape(classes.shape)] = self._none
        return np.ascontiguousarray(classes.reshape(len(values), *self.answer_shape))

    def _check_classes(self, values: Array, axis: int | None) -> None:
        if axis is not None and values.shape[axis + 1] > self._limit:
            what = f"the output has {values.shape[axis + 1]} classes, expected at most"
            raise JobError(BAD_INPUT, f"{what} {self._limit}; import the model again")

    def score(self, answers: Array) -> None:
        """Return no accuracy: the controller computes it from LoadGen's log."""


def class_axis(sizes: tuple[int, ...], labels: tuple[int, ...], is_float: bool) -> int | None:
    """Return the axis with the scores of the classes; None if the output is the map of classes.

    Args:
        sizes: shape of the output of a sample.
        labels: shape of the labels of a sample.
        is_float: True if the output has floating-point numbers.

    Raises:
        JobError: BAD_INPUT: the output does not have such an axis, or several.
    """
    if sizes == labels and not is_float:
        return None
    axes = [axis for axis in range(len(sizes)) if sizes[:axis] + sizes[axis + 1 :] == labels]
    if len(axes) == 1 and sizes[axes[0]] > 1:
        return axes[0]
    if len(axes) >= 1 and not is_float and all(sizes[axis] == 1 for axis in axes):
        return None
    what = f"the output {list(sizes)} of a sample does not fit its labels {list(labels)}"
    raise JobError(BAD_INPUT, f"{what} and an axis of classes")
