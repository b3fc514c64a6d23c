"""Labels or expected outputs in the archive of an import's values, and their metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.labeled_samples.box_labels import checked_boxes, given_boxes
from fleetmark_controller.artifacts.labeled_samples.detection_outputs import (
    OUTPUTS,
    SPEC,
    check_detections,
    class_count,
    describe_detections,
    output_names,
    resolve_detections,
)
from fleetmark_controller.artifacts.labeled_samples.label_files import (
    MAX_CLASSES,
    MAX_SAMPLES,
    read_classes,
    read_labels,
)
from fleetmark_controller.artifacts.labeled_samples.position_labels import (
    UNCOUNTED,
    check_positions,
    check_stored_positions,
    read_stored_positions,
    stored_positions,
)
from fleetmark_controller.artifacts.labeled_samples.transcript_labels import (
    check_steps,
    given_transcripts,
    stored_transcripts,
    transcript_arrays,
)
from fleetmark_controller.artifacts.model_import.input_roles import FLOATS
from fleetmark_controller.artifacts.model_import.options import ArrayHead
from fleetmark_controller.artifacts.model_import.plan import ImportPlan, PlannedOutput
from fleetmark_controller.artifacts.model_import.value_archive import (
    read_heads,
    read_member,
    values_error,
)
from fleetmark_controller.evaluation.metrics.confusion import NO_CLASS
from fleetmark_controller.evaluation.metrics.names import (
    CLASS_METRICS,
    DETECTION_METRICS,
    METRICS,
    MIOU,
    TRANSCRIPT_METRICS,
)
from fleetmark_controller.evaluation.metrics.stored_labels import answers_log_bytes, fits_log
from fleetmark_controller.evaluation.metrics.transcripts import Transcripts, array_names
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


@dataclass(frozen=True)
class Labels:
    """Labels of samples for a metric."""

    metric: str
    values: Array
    """The array `LABELS` of the archive."""
    more: Mapping[str, Array] = field(default_factory=dict)
    """Further arrays of the archive, by name."""
    transcripts: Transcripts | None = None

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.transcripts.references if self.transcripts else self.values)

    @property
    def arrays(self) -> dict[str, Array]:
        """All arrays of the archive, by name."""
        return {LABELS: self.values, **self.more}

    @property
    def has_positions(self) -> bool:
        """True if the labels are classes that are counted one by one: of positions, or of f1."""
        return self.metric in CLASS_METRICS or (self.metric == TOP_1 and self.values.ndim > 1)


def parse_metric(text: str) -> int:
    """Return the K of the metric top-K, 1 for an empty text, and 0 for another metric.

    Raises:
        FleetmarkError: USAGE: there is no such metric.
    """
    if text in METRICS:
        return 0
    match = _TOP.fullmatch(text or TOP_1)
    if match is None:
        what = f"{text[:80]!r} is not a metric"
        raise FleetmarkError(
            ErrorKind.USAGE, what, "--metric", f"Give top-1 to top-99, {', '.join(METRICS)}"
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


def read_given_labels(given: Array, metric: str, where: str) -> Labels:
    """Return the labels or expected outputs in the array `y` of an operator's archive.

    Args:
        given: the array.
        metric: the metric; empty: top-1.
        where: name of the file, for errors.

    Raises:
        FleetmarkError: USAGE: they do not have the type, shape or range that the metric needs.
    """
    metric = metric or TOP_1
    if metric in OUTPUT_METRICS:
        return Labels(metric, check_expected(given, metric, where))
    if metric in DETECTION_METRICS:
        return Labels(metric, given_boxes(given, where))
    if metric in CLASS_METRICS or (metric == TOP_1 and given.ndim > 1):
        return Labels(metric, check_positions(given, metric, where))
    return Labels(metric, check_labels(given, where))


def read_file_labels(labels: str, classes: str, metric: str, names: Sequence[str] = ()) -> Labels:
    """Return labels in files of their own: classes or transcripts.

    Args:
        labels: value of `--labels`: a CSV file with a line for each sample; without names, a text
            file with one transcript a line.
        classes: value of `--classes`: names of classes, or the tokens of transcripts.
        metric: the metric; empty: top-1.
        names: names of the samples' files, in the order of the samples.

    Raises:
        FleetmarkError: USAGE: a file is damaged or does not fit the samples or the metric.
    """
    import numpy as np

    if metric in TRANSCRIPT_METRICS:
        return _transcript_labels(metric, given_transcripts(labels, classes, metric, names))
    found = read_labels(Path(labels), names, read_classes(Path(classes)) if classes else ())
    return read_given_labels(np.array([found[name] for name in names], np.int64), metric, labels)


def _transcript_labels(metric: str, transcripts: Transcripts) -> Labels:
    arrays = transcript_arrays(transcripts, LABELS)
    return Labels(metric, arrays.pop(LABELS), arrays, transcripts)


def stored_form(
    labels: Labels, plan: ImportPlan, detections: str = "", size: tuple[int, int] | None = None
) -> Labels:
    """Return labels in the types of the archive.

    Args:
        labels: the labels.
        plan: the plan of the import.
        detections: value of `--detections`.
        size: width and height of the pictures that the input takes; None if it takes none.

    Raises:
        FleetmarkError: USAGE: an output does not fit them.
    """
    if labels.metric in DETECTION_METRICS:
        spec = resolve_detections(detections, plan.outputs, size)
        return replace(labels, more={SPEC: spec, OUTPUTS: output_names(spec, plan.outputs)})
    if detections:
        what = f"{labels.metric} needs no boxes"
        raise FleetmarkError(ErrorKind.USAGE, what, "--detections", "Leave the option out")
    if labels.has_positions:
        return replace(labels, values=stored_positions(labels.values, plan.outputs[0]))
    return labels


def stored_labels(path: Path, metric: str) -> Labels:
    """Return the labels or expected outputs in an archive of values.

    Raises:
        FleetmarkError: USAGE: it has none, or ones that are not valid.
    """
    where = "--labels"
    _check_stored_kind(read_heads(path, where), metric)
    if metric in TRANSCRIPT_METRICS:
        return _transcript_labels(metric, stored_transcripts(path, LABELS, where))
    found = Labels(metric, read_member(path, LABELS, where))
    if metric in DETECTION_METRICS:
        more = {name: read_member(path, name, where) for name in (SPEC, OUTPUTS)}
        return replace(found, values=checked_boxes(found.values, where), more=more)
    if metric in OUTPUT_METRICS:
        return replace(found, values=check_expected(found.values, metric, where))
    if found.has_positions:
        if metric == MIOU and found.values.dtype == "int32" and (found.values == UNCOUNTED).any():
            # An import with this metric stores -1 instead.
            raise _other_metric_error(f"class {UNCOUNTED}", metric)
        return replace(found, values=read_stored_positions(found.values, where))
    return replace(found, values=check_labels(found.values, where))


def _check_stored_kind(heads: Mapping[str, ArrayHead], metric: str) -> None:
    """Check that an archive has labels of the kind that a metric needs.

    Values of another kind may look valid: 255 is a class for top-1, and no class for f1.

    Args:
        heads: types and shapes of the arrays of the archive.
        metric: the metric.

    Raises:
        FleetmarkError: USAGE: the labels are those of another metric.
    """
    head = heads.get(LABELS)
    if head is None:
        return  # the reader names the missing array
    if metric in TRANSCRIPT_METRICS:
        wanted = "transcripts"
    elif metric in DETECTION_METRICS:
        wanted = "boxes"
    elif metric in OUTPUT_METRICS:
        wanted = "expected outputs"
    elif metric in CLASS_METRICS or (metric == TOP_1 and len(head.shape) > 1):
        wanted = "classes of positions"
    else:
        wanted = "classes"
    if array_names(LABELS)[1] in heads:
        kind = "transcripts"
    elif SPEC in heads:
        kind = "boxes"
    elif head.dtype == "float32":
        kind = "expected outputs"
    elif head.dtype in NO_CLASS:
        kind = "classes of positions"
    elif head.dtype == "int64" and len(head.shape) == 1:
        kind = "classes"
    else:
        return  # no import stores such labels, and the checks of their values say why
    if kind != wanted:
        raise _other_metric_error(kind, metric)


def _other_metric_error(kind: str, metric: str) -> FleetmarkError:
    what = f"the stored labels are those of another metric than {metric}: they have {kind}"
    next_step = "Give --dataset and --labels again, with --metric"
    return FleetmarkError(ErrorKind.USAGE, what, "--metric", next_step)


def label_notes(plan: ImportPlan, labels: Labels) -> tuple[str, ...]:
    """Return notes on how the outputs are compared with the labels."""
    if labels.metric in DETECTION_METRICS:
        return (describe_detections(labels.more[SPEC], plan.outputs),)
    return ()


def check_outputs(plan: ImportPlan, labels: Labels, *, is_final: bool = False) -> None:
    """Check the first output against the metric and the labels.

    Args:
        plan: the plan of the import.
        labels: the labels in the types of the archive.
        is_final: True if no run will show sizes that the file leaves open.

    Raises:
        FleetmarkError: USAGE: the output has too few classes, or does not fit the labels.
    """
    output = plan.outputs[0]
    if labels.has_positions:
        check_stored_positions(labels.values, output)
        return
    if labels.transcripts is not None:
        check_steps(labels.transcripts, output, is_final=is_final)
        return
    if labels.metric in DETECTION_METRICS:
        spec = labels.more[SPEC]
        check_detections(spec, labels.more[OUTPUTS], plan.outputs)
        count = class_count(spec, plan.outputs)
        _check_largest(int(labels.values[..., 0].max()), count, "the scores of the boxes have")
        return
    best = parse_metric(labels.metric)
    if best and not fits_log(len(labels), 4 * best):
        total = answers_log_bytes(len(labels), 4 * best)
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{len(labels):,} answers of {4 * best} bytes make an accuracy log of {total >> 20} "
            f"MiB, more than {MAX_ACCURACY_BYTES >> 20}",
            "--labels",
            "Give fewer samples, or a smaller K for --metric top-K",
        )
    sizes = [size for axis, size in enumerate(output.sizes) if axis != output.batch_axis]
    count = math.prod(sizes)
    if not best:
        _check_expected_size(output, count, labels.values)
        return
    if not sizes or not count or (count == 1 and output.dtype not in ("float32", "float16")):
        return  # not known before a run, or the number of a class
    if count <= best:
        what = f"output {output.name} has {count} values per sample, too few for top-{best}"
        raise FleetmarkError(ErrorKind.USAGE, what, "--metric")
    _check_largest(int(labels.values.max()), count, f"output {output.name} has")


def _check_largest(largest: int, count: int, which: str) -> None:
    # A count of 0 is not known.
    if count and largest >= count:
        what = f"the labels have class {largest}, and {which} {count} classes"
        raise FleetmarkError(ErrorKind.USAGE, what, "--labels", "The first class is 0")


def _check_expected_size(output: PlannedOutput, count: int, expected: Array) -> None:
    if output.dtype not in FLOATS:
        what = f"output {output.name} is {output.dtype}, and this metric needs real numbers"
        raise FleetmarkError(ErrorKind.USAGE, what, "--metric")
    elements = expected.size // len(expected)
    # A size of 0 is not known before a run.
    if output.sizes and count and count != elements:
        what = f"expected outputs have {elements} elements, and output {output.name} has {count}"
        raise FleetmarkError(ErrorKind.USAGE, what, "--dataset")
