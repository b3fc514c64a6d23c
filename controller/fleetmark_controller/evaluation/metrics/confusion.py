"""Metrics of a class for each sample or position: f1, miou, and the share of right positions.

All three follow from three counts of each class c over the counted positions of the whole data set:
L, positions with label c; A, positions with answer c; and H, positions with both.

- f1: the mean of 2H / (L + A) over the classes with L + A > 0. This is the F1 score of scikit-learn
  with `average="macro"` and `zero_division=0`.
- miou: the mean of H / (L + A - H) over the classes with L + A > 0, from one confusion matrix for
  the whole data set, as in MLPerf Mobile.
- The share of right positions: the sum of H over the sum of L.

A position without class in the label is not counted. An answer without class, which NaN outputs
give, is wrong, and belongs to no class.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.evaluation.metrics.names import F1, MIOU
from fleetmark_controller.evaluation.metrics.stored_labels import (
    LOG,
    MAX_CLASSES,
    check_indices,
    read_labels,
)
from fleetmark_controller.evaluation.output_metrics import RecomputedMetric
from fleetmark_controller.loadgen.accuracy_log import AnswerBytes, parse_bytes
from fleetmark_controller.loadgen.errors import IngestError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Array = NDArray[Any]

NO_CLASS = {"uint8": 255, "int32": -1}
"""Types of stored labels and of answers, and the value of a position without class."""
_CHUNK = 1 << 20
"""Positions that are counted at once."""


@dataclass(frozen=True)
class ClassCounts:
    """Counts of each class over the counted positions: labels, answers, and both the same."""

    labels: Integers
    answers: Integers
    hits: Integers


def load_class_labels(path: Path, key: str) -> Array:
    """Return labels as uint8 or int32 [samples, positions].

    Raises:
        IngestError: the file has no such labels.
    """
    (found,) = read_labels(path, [key])
    if str(found.dtype) not in NO_CLASS or not found.ndim or not found.size:
        what = f"labels are {found.dtype} {list(found.shape)}, not uint8 or int32 [N, …]"
        raise IngestError(what, path.name)
    return found.reshape(len(found), -1)


def recompute_classes(
    metric: str, log: Path, labels: Array, expected: int | None = None
) -> RecomputedMetric:
    """Return the metric of an accuracy log.

    Args:
        metric: `f1`, `miou`, or any other name for the share of right positions.
        log: LoadGen's accuracy log.
        labels: uint8 or int32 [samples, positions].
        expected: number of samples according to LoadGen. Completeness is measured against this
            number or that of `labels`, whichever is higher.

    Raises:
        IngestError: the log is not valid, an answer is no class, or no position is counted.
    """
    given = parse_bytes(log, labels.shape[1] * labels.dtype.itemsize)
    check_indices(given.indices, len(labels))
    counts = count_classes(_classes(given, labels), labels[given.indices])
    value = class_metric(metric, counts)
    return RecomputedMetric(value, int(given.indices.size), max(expected or 0, len(labels)))


def _classes(given: AnswerBytes, labels: Array) -> Array:
    import numpy as np

    dtype = labels.dtype.newbyteorder("<")
    found: Array = np.frombuffer(given.data, dtype).reshape(len(given.indices), -1)
    low, high = int(found.min()), int(found.max())
    if low < -1 or high >= MAX_CLASSES:
        wrong = low if low < -1 else high
        raise IngestError(f"has the class {wrong}, expected -1 to {MAX_CLASSES - 1:,}", LOG)
    return found


def count_classes(answers: Array, labels: Array) -> ClassCounts:
    """Count the classes of answers and labels of the same type and shape [samples, positions]."""
    import numpy as np

    none = NO_CLASS[str(labels.dtype)]
    size = 1 + max(int(labels.max()), int(answers.max()), 0)
    totals = np.zeros((3, size), np.int64)
    rows = max(1, _CHUNK // labels.shape[1])
    for first in range(0, len(labels), rows):
        wanted, found = labels[first : first + rows], answers[first : first + rows]
        is_counted = wanted != none
        wanted, found = wanted[is_counted], found[is_counted]
        for place, values in enumerate((wanted, found[found != none], found[found == wanted])):
            totals[place] += np.bincount(values, minlength=size)
    return ClassCounts(*totals)


def class_metric(metric: str, counts: ClassCounts) -> float:
    """Return a metric of counts.

    Raises:
        IngestError: no position is counted.
    """
    labels, answers, hits = counts.labels, counts.answers, counts.hits
    if not labels.sum():
        raise IngestError("the answered samples have no position with a label", LOG)
    if metric not in (F1, MIOU):
        return float(hits.sum() / labels.sum())
    occurs = labels + answers > 0
    labels, answers, hits = labels[occurs], answers[occurs], hits[occurs]
    shares = 2 * hits / (labels + answers) if metric == F1 else hits / (labels + answers - hits)
    return float(shares.mean())
