"""Mean average precision of detected boxes: map and map50.

Source: COCO's evaluation, class COCOeval of pycocotools, with area "all" and at most 100 detections
of a picture. map is the mean over the IoU thresholds 0.50, 0.55, …, 0.95, map50 that at 0.50; both
are the mean over the classes that have a label, of the precision at the recalls 0, 0.01, …, 1.

- Detections of a class, the highest score first, are matched with the free label of the highest IoU
  that is at least the threshold. Labels of a crowd are matched last, and by any number of
  detections; these are not counted.
- The IoU with a crowd is the intersection over the area of the detection.
- The precision at a recall is the highest one at this recall or above; 0 if it is not reached.

Detections of classes without label are not counted, as in COCOeval.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.evaluation.metrics.names import MAP50
from fleetmark_controller.evaluation.metrics.stored_labels import (
    LOG,
    MAX_CLASSES,
    check_indices,
    read_labels,
)
from fleetmark_controller.evaluation.output_metrics import RecomputedMetric
from fleetmark_controller.loadgen.accuracy_log import parse_bytes
from fleetmark_controller.loadgen.errors import IngestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MAX_DETECTIONS = 100
"""Detections of an answer, which has the float32 `ANSWER_COLUMNS` of each."""
ANSWER_COLUMNS = ("score", "class", "x1", "y1", "x2", "y2")
"""A row of class -1 is unused. Coordinates are pixels of the input."""
LABEL_COLUMNS = ("class", "x1", "y1", "x2", "y2", "crowd")
"""The float64 of each box of the labels. A row of class -1 is unused."""
ANSWER_BYTES = 4 * MAX_DETECTIONS * len(ANSWER_COLUMNS)
FEWEST_PIXELS = 2.0
"""Boxes whose coordinates are all within this number are fractions, and not pixels."""
_PIXELS = 10.0
MAX_BOXES = 10_000
"""Most boxes of the labels of a picture, used or not: their overlaps are computed at once."""


def check_boxes(labels: Array) -> str:
    """Return why labels are not boxes as float64 [samples, boxes, 6]; empty if they are."""
    import numpy as np

    if labels.dtype != np.float64 or labels.ndim != 3 or labels.shape[2:] != (len(LABEL_COLUMNS),):
        return f"labels are {labels.dtype} {list(labels.shape)}, not float64 [N, boxes, 6]"
    if labels.shape[1] > MAX_BOXES:
        return f"labels have {labels.shape[1]:,} boxes a picture, more than {MAX_BOXES:,}"
    if not np.isfinite(labels).all():
        return "labels have NaN or infinite values"
    classes, crowd = labels[..., 0], labels[..., 5]
    is_used = classes >= 0
    if (
        (classes != np.rint(classes)).any()
        or (classes < -1).any()
        or (classes >= MAX_CLASSES).any()
    ):
        return f"labels have a class that is not an integer from -1 to {MAX_CLASSES - 1:,}"
    if ((crowd != 0) & (crowd != 1)).any():
        return "labels have a crowd that is neither 0 nor 1"
    if (labels[is_used][:, 3:5] < labels[is_used][:, 1:3]).any():
        return "labels have a box with x2 below x1, or y2 below y1"
    if not (is_used & (crowd == 0)).any():
        return "labels have no box that is counted"
    return ""


def load_boxes(path: Path, key: str) -> Array:
    """Return the boxes of a data set as float64 [samples, boxes, `LABEL_COLUMNS`].

    Raises:
        IngestError: the file has no such labels.
    """
    (found,) = read_labels(path, [key])
    why = check_boxes(found)
    if why:
        raise IngestError(why, path.name)
    return found


def recompute_detections(
    metric: str, log: Path, labels: Array, expected: int | None = None
) -> RecomputedMetric:
    """Return the mean average precision of an accuracy log.

    Args:
        metric: `map` or `map50`.
        log: LoadGen's accuracy log.
        labels: float64 [samples, boxes, `LABEL_COLUMNS`].
        expected: number of samples according to LoadGen. Completeness is measured against this
            number or that of `labels`, whichever is higher.

    Raises:
        IngestError: the log is not valid, an answer is not finite or has no class, or the boxes are
            not pixels.
    """
    import numpy as np

    given = parse_bytes(log, ANSWER_BYTES)
    check_indices(given.indices, len(labels))
    rows = np.frombuffer(given.data, "<f4").reshape(-1, MAX_DETECTIONS, len(ANSWER_COLUMNS))
    answers = rows.astype(np.float64)
    _check_answers(answers, given.indices)
    own = labels[given.indices]
    _check_scale(answers, own)
    thresholds = np.array([0.5]) if metric == MAP50 else np.linspace(0.5, 0.95, 10)
    value = mean_precision(answers, own, thresholds)
    return RecomputedMetric(value, int(given.indices.size), max(expected or 0, len(labels)))


def _check_answers(answers: Array, indices: Array) -> None:
    import numpy as np

    bad = ~np.isfinite(answers).all(axis=(1, 2))
    if bad.any():
        sample = int(indices[bad.argmax()])
        raise IngestError(f"has NaN or infinite values in the answer to sample {sample}", LOG)
    classes = answers[..., 1]
    bad = ((classes != np.rint(classes)) | (classes < -1) | (classes >= MAX_CLASSES)).any(axis=1)
    if bad.any():
        sample = int(indices[bad.argmax()])
        raise IngestError(f"has a class that is no number of one in sample {sample}", LOG)


def _check_scale(answers: Array, labels: Array) -> None:
    """Refuse answers or labels that are fractions of the input: they would have no precision."""
    boxes, wanted = answers[answers[..., 1] >= 0], labels[labels[..., 0] >= 0]
    if not len(boxes) or not len(wanted):
        return
    found, given = abs(boxes[:, 2:]).max(), abs(wanted[:, 1:5]).max()
    if found <= FEWEST_PIXELS and given > _PIXELS:
        what = "has boxes within 2 pixels only: they are fractions of the input, so import the"
        raise IngestError(f"{what} model with scale=unit in --detections", LOG)
    if given <= FEWEST_PIXELS and found > _PIXELS:
        what = "has boxes in pixels, and the labels are within 2 pixels only: they are fractions"
        raise IngestError(f"{what}, so import the model with labels in pixels of the input", LOG)


def mean_precision(answers: Array, labels: Array, thresholds: Array) -> float:
    """Return the mean average precision.

    Args:
        answers: float64 [samples, detections, `ANSWER_COLUMNS`].
        labels: float64 [samples, boxes, `LABEL_COLUMNS`].
        thresholds: IoU thresholds.

    Raises:
        IngestError: there is no label that is counted.
    """
    import numpy as np

    counted = labels[(labels[..., 0] >= 0) & (labels[..., 5] == 0)][:, 0]
    classes, counts = np.unique(counted, return_counts=True)
    if not classes.size:
        raise IngestError("the answered samples have no box that is counted", LOG)
    order = np.argsort(-answers[..., 0], axis=1, kind="stable")
    answers = np.take_along_axis(answers, order[..., None], 1)
    hits = np.zeros((*answers.shape[:2], len(thresholds)), bool)
    ignored = np.zeros_like(hits)
    for sample, (found, wanted) in enumerate(zip(answers, labels, strict=True)):
        # Only classes with labels in this picture can have a match.
        for number in np.unique(wanted[wanted[:, 0] >= 0][:, 0]):
            places = np.flatnonzero(found[:, 1] == number)
            if not places.size:
                continue
            boxes = wanted[wanted[:, 0] == number]
            # Crowds are matched last.
            boxes = boxes[np.argsort(boxes[:, 5], kind="stable")]
            matched = match_boxes(found[places, 2:6], boxes[:, 1:5], boxes[:, 5] == 1, thresholds)
            hits[sample, places], ignored[sample, places] = (part.T for part in matched)
    # By class, and the highest score first; equal ones in the order of the pictures.
    is_used = answers[..., 1] >= 0
    numbers, scores = answers[is_used][:, 1], answers[is_used][:, 0]
    order = np.lexsort((-scores, numbers))
    hits, ignored, numbers = hits[is_used][order], ignored[is_used][order], numbers[order]
    starts = np.searchsorted(numbers, classes, side="left").tolist()
    ends = np.searchsorted(numbers, classes, side="right").tolist()
    means = [
        _mean_of_class(hits[start:end].T, ignored[start:end].T, count)
        for start, end, count in zip(starts, ends, counts.tolist(), strict=True)
    ]
    return float(np.mean(means))


def overlaps(detected: Array, boxes: Array, is_crowd: Array) -> Array:
    """Return the IoU [detections, boxes] of boxes (x1, y1, x2, y2).

    With a crowd, it is the intersection over the area of the detection.
    """
    import numpy as np

    low_a, size_a = (
        detected[:, None, :2],
        np.maximum(detected[:, None, 2:] - detected[:, None, :2], 0),
    )
    low_b, size_b = boxes[None, :, :2], boxes[None, :, 2:] - boxes[None, :, :2]
    # Sums of place and size, as in COCO's own format.
    shared = np.minimum(low_a + size_a, low_b + size_b) - np.maximum(low_a, low_b)
    shared = np.maximum(shared, 0).prod(axis=-1)
    area_a, area_b = size_a.prod(axis=-1), size_b.prod(axis=-1)
    union = np.where(is_crowd[None, :], area_a, area_a + area_b - shared)
    ious: Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return ious


def match_boxes(
    detected: Array, boxes: Array, is_crowd: Array, thresholds: Array
) -> tuple[Array, Array]:
    """Match the detections of a class in a picture with its labels.

    Args:
        detected: boxes [detections, 4], the highest score first.
        boxes: boxes [labels, 4], crowds last.
        is_crowd: [labels].
        thresholds: IoU thresholds.

    Returns:
        Two arrays [thresholds, detections]: matched with a label, and matched with a crowd.
    """
    import numpy as np

    count = len(thresholds)
    hits = np.zeros((count, len(detected)), bool)
    ignored = np.zeros_like(hits)
    if not len(boxes):
        return hits, ignored
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    is_free = np.ones((count, len(boxes)), bool)
    ious = overlaps(detected, boxes, is_crowd)
    reverse = len(boxes) - 1
    for place, row in enumerate(ious):
        if row.max() < least[0, 0]:
            continue
        fits = (row >= least) & is_free
        for mask in (~is_crowd, is_crowd):
            values = np.where(fits & mask, row, -1.0)
            # Of equal labels, COCO takes the last one.
            best = reverse - values[:, ::-1].argmax(axis=1)
            chosen = (values[np.arange(count), best] >= 0) & ~hits[:, place]
            hits[chosen, place] = True
            if mask is is_crowd:
                ignored[chosen, place] = True
            else:
                is_free[chosen, best[chosen]] = False
    return hits, ignored


def _mean_of_class(hits: Array, ignored: Array, labels: int) -> float:
    """Return the mean precision of a class over all thresholds and recalls.

    Args:
        hits: detections that are matched [thresholds, detections], the highest score first.
        ignored: those that are matched with a crowd.
        labels: number of labels that are not a crowd.
    """
    import numpy as np

    if not hits.size:
        return 0.0
    recalls = np.linspace(0.0, 1.0, 101)
    found = np.zeros((len(hits), len(recalls)))
    right = np.cumsum(hits & ~ignored, axis=1, dtype=np.float64)
    wrong = np.cumsum(~hits & ~ignored, axis=1, dtype=np.float64)
    recall = right / labels
    precision = right / (right + wrong + np.spacing(1))
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for number in range(len(hits)):
        places = np.searchsorted(recall[number], recalls, side="left")
        is_reached = places < hits.shape[1]
        found[number, is_reached] = highest[number, places[is_reached]]
    return float(found.mean())
