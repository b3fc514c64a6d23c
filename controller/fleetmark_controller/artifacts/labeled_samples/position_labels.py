"""Labels of a class for each sample or position, for f1, miou and top-1 of positions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.labeled_samples.label_files import MAX_CLASSES, MAX_SAMPLES
from fleetmark_controller.artifacts.model_import.input_roles import FLOATS
from fleetmark_controller.artifacts.model_import.plan import PlannedOutput
from fleetmark_controller.artifacts.model_import.value_archive import MAX_BYTES, values_error
from fleetmark_controller.evaluation.metrics.confusion import NO_CLASS
from fleetmark_controller.evaluation.metrics.names import MIOU
from fleetmark_controller.evaluation.metrics.stored_labels import answers_log_bytes, fits_log
from fleetmark_controller.loadgen.limits import MAX_ACCURACY_BYTES
from fleetmark_core.errors import ErrorKind, FleetmarkError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

UNCOUNTED = NO_CLASS["uint8"]
"""Value of bytes that is no class, and so also the most classes that bytes hold."""
_BYTES = ("int8", "uint8", "bool")
_ARGMAX = "End the graph with ArgMax over the classes, so that the output is the map of classes"


def check_positions(given: Array, metric: str, where: str) -> Array:
    """Return labels of an operator as int32, in which -1 is not counted.

    Args:
        given: integers [N, …]. -1 is not counted, and with miou 255 neither.
        metric: the metric.
        where: name of the file, for errors.

    Raises:
        FleetmarkError: USAGE: they are not such integers, or no position is counted.
    """
    import numpy as np

    if given.dtype.kind not in "iu" or given.ndim < 1:
        what = f"labels y are {given.dtype} {list(given.shape)}, expected integers [N] or [N, …]"
        raise values_error(where, what)
    if not 0 < len(given) <= MAX_SAMPLES or not given.size:
        raise values_error(where, f"has labels y {list(given.shape)}, which are none")
    if given.size * 4 > MAX_BYTES:
        raise values_error(where, f"has {given.size:,} labels, more than {MAX_BYTES >> 22:,}")
    low, high = int(given.min()), int(given.max())
    if low < -1 or high >= MAX_CLASSES:
        what = f"labels y are {low} to {high}, expected -1 to {MAX_CLASSES - 1:,}"
        raise values_error(where, what)
    labels: Array = given.astype(np.int32)
    if metric == MIOU:
        labels[labels == UNCOUNTED] = -1
    if labels.max() < 0:
        raise values_error(where, "has no label that is counted: all are -1 (no class)")
    return labels


def stored_positions(labels: Array, output: PlannedOutput) -> Array:
    """Return labels in the type of the archive: bytes if they hold all classes, or else int32.

    Answers have the same type, so that smaller ones allow more samples in LoadGen's accuracy log.
    The classes of a map of wider integers are not known, and may be more than bytes hold.

    Args:
        labels: int32 [N, …], in which -1 is not counted.
        output: the first output.

    Raises:
        FleetmarkError: USAGE: the output does not fit the labels.
    """
    import numpy as np

    count = classes_of(output, labels.shape[1:])
    is_wide_map = count == 0 and output.dtype not in _BYTES
    if count is None or is_wide_map or max(int(labels.max()) + 1, count) > UNCOUNTED:
        return labels
    stored: Array = np.where(labels < 0, UNCOUNTED, labels).astype(np.uint8)
    return stored


def classes_of(output: PlannedOutput, positions: tuple[int, ...]) -> int | None:
    """Return the number of classes of an output.

    0: the output is the map of classes; None: its sizes are not known before a run.

    Args:
        output: the first output.
        positions: shape of the labels of a sample.

    Raises:
        FleetmarkError: USAGE: it does not have the scores of the classes on one axis, nor is it the
            map of classes.
    """
    sizes = tuple(size for axis, size in enumerate(output.sizes) if axis != output.batch_axis)
    if not output.sizes or not all(sizes):
        return None
    is_float = output.dtype in FLOATS
    if sizes == positions and not is_float:
        return 0
    axes = [axis for axis in range(len(sizes)) if sizes[:axis] + sizes[axis + 1 :] == positions]
    counts = {sizes[axis] for axis in axes}
    if len(axes) == 1 and counts != {1}:
        return sizes[axes[0]]
    if counts == {1} and not is_float:
        return 0
    shown = f"output {output.name} {list(sizes)} of a sample"
    if len(axes) > 1:
        what = f"{shown} has {len(axes)} axes that may be those of the classes"
        raise FleetmarkError(ErrorKind.USAGE, what, "--labels", _ARGMAX)
    if counts == {1} or sizes == positions:
        what = f"{shown} has one real number for each label, expected a score for each class"
        raise FleetmarkError(ErrorKind.USAGE, what, "--labels", _ARGMAX)
    what = f"{shown} does not fit the labels {list(positions)} of a sample and an axis of classes"
    next_step = "Give labels of the output's size, or change the size of the output in the graph"
    raise FleetmarkError(ErrorKind.USAGE, what, "--labels", next_step)


def check_stored_positions(labels: Array, output: PlannedOutput) -> None:
    """Check stored labels against the first output and the size of LoadGen's accuracy log.

    Raises:
        FleetmarkError: USAGE: the output does not fit them, has too few or too many classes, or the
            log would be too large.
    """
    count = classes_of(output, labels.shape[1:])
    none = NO_CLASS[str(labels.dtype)]
    largest = int(labels[labels != none].max(initial=0))
    if count and largest >= count:
        what = f"the labels have class {largest}, and output {output.name} has {count} classes"
        raise FleetmarkError(ErrorKind.USAGE, what, "--labels", "The first class is 0")
    if none > 0 and count and count > none:
        what = f"labels are stored as bytes, and output {output.name} has {count} classes"
        raise FleetmarkError(ErrorKind.USAGE, what, "--labels")
    size = math.prod(labels.shape[1:]) * labels.dtype.itemsize
    if not fits_log(len(labels), size):
        total = answers_log_bytes(len(labels), size)
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"labels {list(labels.shape)} make an accuracy log of {total >> 20} MiB, more than "
            f"{MAX_ACCURACY_BYTES >> 20}",
            "--labels",
            "Give fewer samples",
        )


def read_stored_positions(labels: Array, where: str) -> Array:
    """Return labels of an archive after a check.

    Raises:
        FleetmarkError: USAGE: they are not labels as `stored_positions` returns them.
    """
    none = NO_CLASS.get(str(labels.dtype))
    is_sound = none is not None and labels.ndim > 0 and labels.size and len(labels) <= MAX_SAMPLES
    if not is_sound or labels.min() < -1 or labels.max() >= MAX_CLASSES:
        what = f"labels y are {labels.dtype} {list(labels.shape)}, expected uint8 or int32 [N, …]"
        raise values_error(where, f"{what} from -1 to {MAX_CLASSES - 1:,}")
    if (labels == none).all():
        raise values_error(where, "has no label that is counted")
    return labels
