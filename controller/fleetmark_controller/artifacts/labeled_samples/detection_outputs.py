"""Outputs of a detector that hold its boxes, scores and classes: the option `--detections`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.model_import.input_roles import FLOATS
from fleetmark_controller.artifacts.model_import.plan import PlannedOutput
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import hint

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

OPTION = "--detections"
SPEC = "detections"
"""Name of the array with the places of boxes, scores and classes among the outputs, the format, and
the width and height that coordinates are multiplied with, as int64. The place of classes is -1 if
they are those of the highest scores; those of scores and classes are -2 if they are columns of the
boxes."""
OUTPUTS = "detections-outputs"
"""Name of the array with the names of the outputs in `SPEC`, as a JSON list in bytes of uint8."""
FORMATS = ("xyxy", "yxyx", "cxcywh")
SCALES = ("pixels", "unit")
_KEYS = ("boxes", "scores", "classes", "format", "scale")
_COLUMN, _BEST = -2, -1
_SPEC_SIZE = 6
_MAX_SIDE = 100_000
_NAMES = {
    "boxes": ("box",),
    "scores": ("score", "conf", "prob"),
    "classes": ("class", "label", "categor"),
}
_EXAMPLE = "boxes=NAME,scores=NAME,classes=NAME,format=xyxy,scale=pixels"


def parse_detections(text: str) -> dict[str, str]:
    """Return the parts of `boxes=NAME,scores=NAME,classes=NAME,format=xyxy,scale=unit`.

    Raises:
        FleetmarkError: USAGE: a part is unknown, is given twice, or has an invalid value.
    """
    found: dict[str, str] = {}
    for part in text.split(",") if text else ():
        key, separator, value = part.strip().partition("=")
        if not separator or key not in _KEYS or not value:
            raise _invalid_error(
                f"{part[:80]!r} is not a part", hint(key[:80], _KEYS) or f"Give {_EXAMPLE}"
            )
        if key in found:
            raise _invalid_error(f"{key} is given twice")
        found[key] = value
    for key, allowed in (("format", FORMATS), ("scale", SCALES)):
        if key in found and found[key] not in allowed:
            raise _invalid_error(
                f"{key}={found[key][:80]!r} is not one of {', '.join(allowed)}",
                hint(found[key][:80], allowed),
            )
    return found


def resolve_detections(
    text: str, outputs: Sequence[PlannedOutput], size: tuple[int, int] | None
) -> Array:
    """Return the array `SPEC` for a model.

    An output [boxes, 6] has the columns x1, y1, x2, y2, score and class; its coordinates are pixels
    unless the option says otherwise. Separate outputs are named by the option, or recognized by
    shape and name. Their format and scale must be given, because a wrong guess would look like a
    bad model.

    Args:
        text: value of `--detections`.
        outputs: outputs of the model.
        size: width and height of the input's pictures; None if it takes none.

    Raises:
        FleetmarkError: USAGE: the option is not valid, or does not make clear which outputs are
            what.
    """
    import numpy as np

    given = parse_detections(text)
    names = [output.name for output in outputs]
    places: dict[str, int] = {}
    for key in ("boxes", "scores", "classes"):
        if key in given:
            if given[key] not in names:
                what = f"the model has no output {given[key][:80]!r}"
                shown = ", ".join(name[:80] for name in names[:10])
                raise _invalid_error(
                    what, hint(given[key][:80], names) or f"The outputs are {shown}"
                )
            places[key] = names.index(given[key])
    boxes = places.get("boxes")
    if boxes is None:
        boxes = _guessed_boxes(outputs, taken=set(places.values()))
    columns = outputs[boxes].sizes[-1:]
    if columns == (6,) and "scores" not in given and "classes" not in given:
        scores = classes = _COLUMN
        _check_types(outputs, boxes, scores)
    else:
        _check_types(outputs, boxes)
        scores = places.get("scores", -1)
        if scores < 0:
            scores = _named("scores", outputs, {boxes, *places.values()})
        _check_types(outputs, boxes, scores)
        classes = places.get("classes", -1)
        if classes < 0 and len(outputs[scores].sizes) < max(2, len(outputs[boxes].sizes)):
            classes = _named("classes", outputs, {boxes, scores})
        missing = [key for key in ("format", "scale") if key not in given]
        if missing:
            raise _invalid_error(
                f"the {' and '.join(missing)} of the boxes must be given",
                f"Give format={'|'.join(FORMATS)} and scale={'|'.join(SCALES)}",
            )
    scale = (1, 1)
    if given.get("scale") == "unit":
        if size is None:
            raise _invalid_error("scale=unit needs an input that takes pictures")
        scale = size
    form = FORMATS.index(given.get("format", FORMATS[0]))
    return np.array([boxes, scores, classes, form, *scale], np.int64)


def output_names(spec: Array, outputs: Sequence[PlannedOutput]) -> Array:
    """Return the array `OUTPUTS`: the names of the outputs in a valid array `SPEC`."""
    import numpy as np

    names = [outputs[place].name for place in spec[:3].tolist() if place >= 0]
    return np.frombuffer(json.dumps(names).encode(), np.uint8)


def class_count(spec: Array, outputs: Sequence[PlannedOutput]) -> int:
    """Return the number of classes with a score for each box; 0 if it is not known."""
    _, scores, classes = spec[:3].tolist()
    sizes = outputs[scores].sizes if classes == _BEST else ()
    return sizes[-1] if sizes else 0


def check_detections(spec: Array, names: Array, outputs: Sequence[PlannedOutput]) -> None:
    """Check stored arrays against the outputs of a model, which may be another one since.

    Args:
        spec: the array `SPEC`.
        names: the array `OUTPUTS`.
        outputs: outputs of the model.

    Raises:
        FleetmarkError: USAGE: they are not valid for the outputs, or are those of outputs of other
            names.
    """
    import numpy as np

    if spec.dtype != np.int64 or spec.shape != (_SPEC_SIZE,):
        what = f"the values have {SPEC} as {spec.dtype} {list(spec.shape)}, expected int64 [6]"
        raise _invalid_error(what)
    boxes, scores, classes, form, width, height = (int(value) for value in spec)
    count = len(outputs)
    is_sound = (
        0 <= boxes < count
        and (_COLUMN == scores == classes or (0 <= scores < count and -1 <= classes < count))
        and boxes not in (scores, classes)
        and 0 <= form < len(FORMATS)
        and 0 < width <= _MAX_SIDE
        and 0 < height <= _MAX_SIDE
    )
    if not is_sound:
        raise _invalid_error(f"the values have {SPEC} {spec.tolist()}, which the model cannot have")
    wanted = output_names(spec, outputs)
    if names.dtype != np.uint8 or not np.array_equal(names, wanted):
        stored = names.reshape(-1)[:200].tobytes().decode("utf-8", "replace")
        shown = f"{wanted[:200].tobytes().decode()} at their places"
        what = f"the values are for the outputs {stored!r:.200}, and the model has {shown}"
        raise _invalid_error(what, "Give --dataset and --labels again, with --metric")
    _check_types(outputs, boxes, scores)
    if classes == _BEST and len(outputs[scores].sizes) == 1:
        what = f"output {outputs[scores].name} has no axis of classes"
        raise _invalid_error(what, "Give classes=NAME")


def describe_detections(spec: Array, outputs: Sequence[PlannedOutput]) -> str:
    """Return how boxes are read, for a note."""
    boxes, scores, classes, form, width, height = (int(value) for value in spec)
    unit = "pixels" if (width, height) == (1, 1) else f"fractions of {width}x{height} pixels"
    shown = f"boxes are output {outputs[boxes].name} as {FORMATS[form]} in {unit}"
    if scores == _COLUMN:
        return f"{shown}, followed by score and class"
    rest = "their highest" if classes == _BEST else f"output {outputs[classes].name}"
    return f"{shown}, scores are output {outputs[scores].name}, classes are {rest}"


def _guessed_boxes(outputs: Sequence[PlannedOutput], taken: set[int]) -> int:
    def with_columns(count: int) -> list[int]:
        return [
            place
            for place, output in enumerate(outputs)
            if place not in taken and len(output.sizes) in (2, 3) and output.sizes[-1] == count
        ]

    for count in (4, 6):
        found = with_columns(count)
        if len(found) == 1 and not (count == 6 and taken):
            return found[0]
    return _named("boxes", outputs, taken)


def _named(key: str, outputs: Sequence[PlannedOutput], taken: set[int]) -> int:
    found = [
        place
        for place, output in enumerate(outputs)
        if place not in taken and any(word in output.name.lower() for word in _NAMES[key])
    ]
    if len(found) != 1:
        names = ", ".join(output.name[:80] for output in outputs[:10])
        what = f"{len(found) or 'none'} of the outputs {names} may be the {key}"
        raise _invalid_error(what, f"Give {OPTION} {key}=NAME, such as {_EXAMPLE}")
    return found[0]


def _check_types(outputs: Sequence[PlannedOutput], boxes: int, scores: int = _BEST) -> None:
    """Raise an error if boxes or scores are not real numbers, or boxes have other columns."""
    for place in (boxes, scores):
        if place >= 0 and outputs[place].dtype not in FLOATS:
            what = f"output {outputs[place].name} is {outputs[place].dtype}"
            raise _invalid_error(f"{what}, and boxes and scores are real numbers")
    columns = outputs[boxes].sizes[-1:]
    if columns not in ((), (0,), (6 if scores == _COLUMN else 4,)):
        what = f"output {outputs[boxes].name} has {columns[0]} columns"
        raise _invalid_error(f"{what}, expected 4, or 6 without scores")


def _invalid_error(what: str, next_step: str = "") -> FleetmarkError:
    return FleetmarkError(ErrorKind.USAGE, what, OPTION, next_step)
