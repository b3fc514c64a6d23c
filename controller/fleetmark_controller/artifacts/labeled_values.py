"""Labels or expected outputs in the archive of an import's values, and their metrics."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.label_files import MAX_CLASSES, MAX_SAMPLES
from fleetmark_controller.artifacts.value_archive import read_member, values_error
from fleetmark_controller.evaluation.output_metrics import COSINE, OUTPUT_METRICS, log_bytes
from fleetmark_controller.loadgen.limits import MAX_ACCURACY_BYTES
from fleetmark_core.errors import ErrorKind, FleetmarkError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

SAMPLES, LABELS = "x", "y"
"""Names of the arrays in the archive of values."""
TOP_1 = "top-1"
_TOP = re.compile(r"top-([1-9][0-9]?)")


def parse_metric(text: str) -> int:
    """Return the K of the metric top-K, 1 for an empty text, and 0 for a metric of whole outputs.

    Raises:
        FleetmarkError: USAGE: there is no such metric.
    """
    if text in OUTPUT_METRICS:
        return 0
    match = _TOP.fullmatch(text or TOP_1)
    if match is None:
        what = f"{text[:80]!r} is not a metric"
        raise FleetmarkError(
            ErrorKind.USAGE, what, "--metric", "Give top-1 to top-99, mae or cosine"
        )
    return int(match[1])


def check_labels(labels: Array, where: str) -> Array:
    """Return the numbers of classes as int64.

    Raises:
        FleetmarkError: USAGE: they are not one non-negative integer per sample.
    """
    import numpy as np

    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        what = f"labels y are {labels.dtype} {list(labels.shape)}, expected integers [N]"
        raise values_error(where, what)
    if not 0 < len(labels) <= MAX_SAMPLES:
        raise values_error(where, f"has {len(labels):,} labels, expected 1 to {MAX_SAMPLES:,}")
    if labels.min() < 0 or labels.max() >= MAX_CLASSES:
        what = f"labels y are {labels.min()} to {labels.max()}, expected 0 to {MAX_CLASSES - 1:,}"
        raise values_error(where, what)
    return labels.astype(np.int64)


def check_expected(expected: Array, metric: str, where: str) -> Array:
    """Return expected outputs as float32 [N, …].

    Raises:
        FleetmarkError: USAGE: they are not finite, or too large for LoadGen's accuracy log.
    """
    import numpy as np

    if expected.dtype.kind != "f" or expected.ndim < 1:
        what = f"expected outputs y are {expected.dtype} {list(expected.shape)}, expected floats"
        raise values_error(where, f"{what} [N, …]")
    if not 0 < len(expected) <= MAX_SAMPLES or not expected.size:
        raise values_error(where, f"has expected outputs y {list(expected.shape)}, which are none")
    size = log_bytes(len(expected), expected.size // len(expected))
    if size > MAX_ACCURACY_BYTES:
        raise values_error(
            where,
            f"expected outputs y {list(expected.shape)} make an accuracy log of {size >> 20} MiB, "
            f"more than {MAX_ACCURACY_BYTES >> 20}: give fewer samples",
        )
    with np.errstate(over="ignore"):
        made: Array = np.ascontiguousarray(expected, np.float32)
    if not np.isfinite(made).all():
        raise values_error(where, "has expected outputs y that are NaN, infinite or too large")
    if metric == COSINE and not np.any(made.reshape(len(made), -1), axis=-1).all():
        raise values_error(where, "has expected outputs y of zeros only: they have no direction")
    return made


def stored_labels(path: Path, metric: str) -> Array:
    """Return the labels or expected outputs in an archive of values.

    Raises:
        FleetmarkError: USAGE: it has none, or ones that are not valid.
    """
    found = read_member(path, LABELS, "--labels")
    if metric in OUTPUT_METRICS:
        return check_expected(found, metric, "--labels")
    return check_labels(found, "--labels")
