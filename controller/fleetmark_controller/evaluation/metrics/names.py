"""Names of the metrics of labeled samples, and what a higher value means."""

from __future__ import annotations

from fleetmark_controller.evaluation.output_metrics import COSINE, MAE

F1, MIOU = "f1", "miou"
WER, CER = "wer", "cer"
MAP, MAP50 = "map", "map50"
CLASS_METRICS = (F1, MIOU)
"""Metrics of a class for each sample or position."""
TRANSCRIPT_METRICS = (WER, CER)
DETECTION_METRICS = (MAP, MAP50)
LOWER_IS_BETTER = (MAE, WER, CER)
"""Metrics of which a lower value is better; 0 is without error."""
METRICS = (MAE, COSINE, *CLASS_METRICS, *TRANSCRIPT_METRICS, *DETECTION_METRICS)
"""All metrics besides top-1 to top-99."""


def is_share(metric: str) -> bool:
    """Return whether a metric is the share of right answers: top-K, or the metric is not named."""
    return metric not in METRICS
