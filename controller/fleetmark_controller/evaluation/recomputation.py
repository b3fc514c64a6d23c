"""Compute the accuracy of a run again: from LoadGen's accuracy log and the data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.evaluation import accuracy, output_metrics
from fleetmark_controller.evaluation.metrics.confusion import load_class_labels, recompute_classes
from fleetmark_controller.evaluation.metrics.detection import load_boxes, recompute_detections
from fleetmark_controller.evaluation.metrics.names import (
    CLASS_METRICS,
    DETECTION_METRICS,
    TRANSCRIPT_METRICS,
)
from fleetmark_controller.evaluation.metrics.stored_labels import label_axes
from fleetmark_controller.evaluation.metrics.transcripts import (
    load_transcripts,
    recompute_transcripts,
)
from fleetmark_controller.loadgen.accuracy_log import parse_accuracy, parse_outputs
from fleetmark_controller.loadgen.errors import IngestError

Recomputed = accuracy.RecomputedAccuracy | output_metrics.RecomputedMetric
_STORED = "tensors"
"""Layout of the values of an import."""


@dataclass(frozen=True)
class Reference:
    """The file with the labels or expected outputs, the array in it, and the file's layout."""

    path: Path
    key: str
    layout: str


def recompute(
    metric: str, log: Path, reference: Reference, expected: int | None = None
) -> Recomputed:
    """Return the metric of a run.

    Args:
        metric: `top-1` to `top-99`, or one of `metrics.names.METRICS`.
        log: LoadGen's accuracy log.
        reference: the labels or expected outputs.
        expected: number of samples according to LoadGen.

    Raises:
        IngestError: the metric is unknown; the text is a whole sentence.
    """
    try:
        if metric in CLASS_METRICS or _has_positions(metric, reference):
            labels = load_class_labels(reference.path, reference.key)
            return recompute_classes(metric, log, labels, expected)
        if metric in TRANSCRIPT_METRICS:
            texts = load_transcripts(reference.path, reference.key)
            return recompute_transcripts(metric, log, texts, expected)
        if metric in DETECTION_METRICS:
            boxes = load_boxes(reference.path, reference.key)
            return recompute_detections(metric, log, boxes, expected)
        if metric not in output_metrics.OUTPUT_METRICS:
            words = accuracy.words_of(metric)
            labels = accuracy.load_labels(reference.path, reference.key, reference.layout)
            answers = parse_accuracy(log, words)
            return accuracy.top_k(answers, labels, expected)
        wanted = output_metrics.load_expected(reference.path, reference.key)
        outputs = parse_outputs(log, wanted.shape[1])
        return output_metrics.compare_outputs(metric, outputs, wanted, expected)
    except IngestError as error:
        raise IngestError(f"accuracy is unknown: {error}") from error


def _has_positions(metric: str, reference: Reference) -> bool:
    """Return whether the samples have a label for each position, and top-1 counts positions."""
    if metric != accuracy.METRIC or reference.layout != _STORED:
        return False
    return label_axes(reference.path, reference.key) > 1
