"""Answers of detectors: the boxes with the highest scores."""

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
MAX_DETECTIONS = 100
_COLUMNS = 6
_SPEC = "detections"
"""Array with the places of boxes, scores and classes among the outputs, the format, and the width
and height that coordinates are multiplied with, as int64. The place of classes is -1 if they are
those of the highest scores; those of scores and classes are -2 if they are columns of the boxes."""
_SPEC_SIZE = 6
_COLUMN, _BEST = -2, -1
XYXY, YXYX, CXCYWH = range(3)


class Detections(RandomTensors):
    """A detector with boxes after its own suppression; the answer is its 100 best ones.

    Each has the score, the class and the box x1, y1, x2, y2 in pixels of the input, as float32. A
    row of class -1 is unused.
    """

    answer_dtype = np.float32
    answer_shape = (MAX_DETECTIONS, _COLUMNS)

    def __init__(
        self, job: JobSpec, adapter: Adapter, batch_size: int, arrays: Mapping[str, Array]
    ) -> None:
        """Set up the task; see `LabeledTensors`.

        Raises:
            JobError: BAD_INPUT: there are no boxes of the samples.
        """
        super().__init__(job, adapter, batch_size, arrays)
        labels, spec = arrays.get(str(job.table("dataset")["labels"])), arrays.get(_SPEC)
        if labels is None or len(labels) != self.total_count:
            raise JobError(
                BAD_INPUT, f"the job's values have no boxes of {self.total_count} samples"
            )
        if spec is None or spec.shape != (_SPEC_SIZE,) or spec.dtype != np.int64:
            raise JobError(BAD_INPUT, "the job's values do not say which outputs are the boxes")
        places = [int(value) for value in spec]
        self._boxes, self._scores, self._classes, self._format = places[:4]
        self._scale = np.array(places[4:] * 2, np.float32)
        self.run = self._run_all

    def _run_all(self, batch: Any) -> list[Array]:
        """Run the model and return all outputs."""
        feeds = self.feeds(batch)
        count, size = len(batch), self._adapter.samples_per_call
        if not self._adapter.fixed_batch or count % size == 0:
            return self._adapter.call(feeds)
        # A call computes full batches only.
        padded = np.minimum(np.arange(count + -count % size), count - 1)
        outputs = self._adapter.call(self.feeds(batch[padded]))
        return [output[:count] if len(output) == len(padded) else output for output in outputs]

    def answer(self, outputs: Any) -> Array:
        """Return the best boxes of each sample.

        Raises:
            JobError: BAD_INPUT: an output is missing, or does not have the shape of boxes, scores
                or classes.
        """
        rows = self._output(outputs, self._boxes)
        if rows.ndim == 2:
            # An output without batch axis belongs to the only sample.
            outputs = [np.asarray(output)[None] for output in outputs]
            rows = rows[None]
        width = _COLUMNS if self._scores == _COLUMN else 4
        if rows.ndim != 3 or rows.shape[2] != width:
            what = f"the boxes have the shape {list(rows.shape)}, expected [batch, boxes, {width}]"
            raise JobError(BAD_INPUT, what)
        scores, classes = self._scored(outputs, rows)
        boxes = rows[..., :4].astype(np.float32)
        if self._format == YXYX:
            boxes = boxes[..., [1, 0, 3, 2]]
        elif self._format == CXCYWH:
            half = boxes[..., 2:] / 2
            boxes = np.concatenate([boxes[..., :2] - half, boxes[..., :2] + half], axis=-1)
        boxes = boxes * self._scale
        count = min(scores.shape[1], MAX_DETECTIONS)
        # Unused rows come last, and NaN first, because it must not be lost.
        key = np.where(classes < 0, np.inf, np.where(np.isnan(scores), -np.inf, -scores))
        order = np.argsort(key, axis=1, kind="stable")[:, :count]
        made = np.zeros((len(rows), MAX_DETECTIONS, _COLUMNS), np.float32)
        made[..., 1] = -1
        chosen = np.take_along_axis(classes, order, 1)
        is_used = chosen >= 0
        is_used |= np.isnan(chosen)
        made[:, :count, 0] = np.where(is_used, np.take_along_axis(scores, order, 1), 0)
        made[:, :count, 1] = np.where(is_used, chosen, -1)
        placed = np.take_along_axis(boxes, order[..., None], 1)
        made[:, :count, 2:] = np.where(is_used[..., None], placed, 0)
        return made

    def _scored(self, outputs: Any, rows: Array) -> tuple[Array, Array]:
        """Return scores and classes as float32 [samples, boxes]."""
        if self._scores == _COLUMN:
            return rows[..., 4].astype(np.float32), rows[..., 5].astype(np.float32)
        scores = self._output(outputs, self._scores)
        if self._classes == _BEST:
            if scores.ndim != 3 or scores.shape[:2] != rows.shape[:2]:
                raise _shape_error("scores", scores, rows, ", classes")
            # argmax chooses NaN where there is one.
            classes = scores.argmax(axis=-1)
            scores = np.take_along_axis(scores, classes[..., None], 2)[..., 0]
        else:
            classes = self._output(outputs, self._classes)
        for name, values in (("scores", scores), ("classes", classes)):
            if values.shape != rows.shape[:2]:
                raise _shape_error(name, values, rows)
        return scores.astype(np.float32), classes.astype(np.float32)

    def _output(self, outputs: Any, place: int) -> Array:
        if not 0 <= place < len(outputs):
            raise JobError(BAD_INPUT, f"the model has {len(outputs)} outputs, and no {place}")
        return np.asarray(outputs[place])

    def score(self, answers: Array) -> None:
        """Return no accuracy: the controller computes it from LoadGen's log."""


def _shape_error(name: str, values: Array, rows: Array, more: str = "") -> JobError:
    shape = list(rows.shape[:2])
    what = (
        f"the {name} have the shape {list(values.shape)}, expected [{shape[0]}, {shape[1]}{more}]"
    )
    return JobError(BAD_INPUT, what)
