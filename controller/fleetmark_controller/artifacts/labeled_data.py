"""An operator's own labeled samples for an import: a folder of pictures, or an archive of arrays.

The command prepares them on the operator's machine and uploads the values, in the type and shape of
the input, with the labels. Every device gets the same bytes.
"""

from __future__ import annotations

import io
import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.box_labels import PictureBoxes, read_coco
from fleetmark_controller.artifacts.import_options import ARRAY, ArrayHead, split_pairs
from fleetmark_controller.artifacts.import_plan import Description, ImportPlan, plan_import
from fleetmark_controller.artifacts.input_files import (
    PICTURES,
    FileInputs,
    converted,
    open_sizes,
    read_inputs,
)
from fleetmark_controller.artifacts.label_files import MAX_SAMPLES
from fleetmark_controller.artifacts.label_pictures import LabelPictures, label_pictures
from fleetmark_controller.artifacts.labeled_values import (
    SAMPLES,
    Labels,
    check_outputs,
    parse_metric,
    read_file_labels,
    read_given_labels,
    stored_form,
)
from fleetmark_controller.artifacts.model_graph import Tensor
from fleetmark_controller.artifacts.preprocess import (
    OPTION,
    Preprocess,
    find_picture_shape,
    fit_picture,
    open_picture_shape,
    parse_preprocess,
    picture_shape,
    to_values,
    typed,
)
from fleetmark_controller.artifacts.value_archive import MAX_BYTES, read_archive, values_error
from fleetmark_controller.evaluation.metrics.names import DETECTION_METRICS, TRANSCRIPT_METRICS
from fleetmark_controller.evaluation.output_metrics import OUTPUT_METRICS
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    Array = npt.NDArray[Any]

_MAX_PICTURE_BYTES = 64 << 20
_MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class LabeledOptions:
    """Values of the options of labeled samples, from `--dataset` to `--detections`."""

    dataset: str
    labels: str = ""
    classes: str = ""
    preprocess: str = ""
    metric: str = ""
    detections: str = ""


@dataclass(frozen=True)
class _Samples:
    """Samples before they are prepared, and their labels."""

    labels: Labels | LabelPictures | PictureBoxes
    pictures: tuple[Path, ...] = ()
    array: Array | None = None
    where: str = ""

    @property
    def is_pictures(self) -> bool:
        """True if the samples have pixels, and not values of the model's input."""
        if self.array is None:
            return True
        return bool(self.array.dtype == "uint8" and self.array.ndim in (3, 4))


def read_labeled_inputs(
    model: Description,
    shapes: Sequence[str],
    inputs: Sequence[str],
    batch_axes: Sequence[str],
    given: LabeledOptions,
) -> FileInputs:
    """Return the options of an import with the prepared samples and their labels as arrays.

    Args:
        model: metadata of the model.
        shapes: values of `--shape`.
        inputs: values of `--input`, for the other inputs.
        batch_axes: values of `--batch-axis`.
        given: the samples and labels.

    Raises:
        FleetmarkError: USAGE: an option is not valid, or a file is damaged, hostile, or does not
            fit the model.
    """
    parse_metric(given.metric)
    tensors = {tensor.name: tensor for tensor in model.inputs}
    ((name, source),) = split_pairs("--dataset", [given.dataset], list(tensors))
    steps = parse_preprocess(given.preprocess)
    samples = _read_samples(Path(source), given)
    if given.preprocess and not samples.is_pictures:
        what = f"x of {source} has values and not pictures (uint8 [N, height, width, channels])"
        raise FleetmarkError(ErrorKind.USAGE, what, OPTION, "Leave the option out")
    others = read_inputs(model, shapes, inputs, batch_axes)
    tensor, count = tensors[name], len(samples.labels)
    if samples.is_pictures:
        found = open_picture_shape(tensor, steps)
    else:
        assert samples.array is not None
        found = open_sizes(tensor, samples.array.shape)
    given_names = [one for one, _ in split_pairs("--shape", shapes, list(tensors))]
    more = (f"{name}={'x'.join(map(str, found))}",) if found and name not in given_names else ()
    texts = (*others.inputs, f"{name}={ARRAY}:{SAMPLES}")
    sizes = (*others.shapes, *more)
    plan = plan_import(
        model,
        sizes,
        texts,
        batch_axes=batch_axes,
        arrays={**others.heads, SAMPLES: ArrayHead("", (count,))},
    )
    labels = _fitted_labels(samples, tensor, plan, steps, given)
    check_outputs(plan, labels)
    values = _prepared(samples, tensor, plan, steps)
    return FileInputs(sizes, texts, {**others.arrays, SAMPLES: values, **labels.arrays})


def _fitted_labels(
    samples: _Samples, tensor: Tensor, plan: ImportPlan, steps: Preprocess, given: LabeledOptions
) -> Labels:
    """Return the labels as they are stored; those of places in pictures are prepared like these."""
    labels, size = samples.labels, None
    if samples.is_pictures:
        shape = picture_shape(tensor.name, plan.sample.sample_shape, steps)
        size = (shape.width, shape.height)
        if isinstance(labels, PictureBoxes):
            labels = Labels(given.metric, labels.fitted(shape, steps))
        elif isinstance(labels, LabelPictures):
            labels = labels.fitted(shape, steps)
    elif (found := find_picture_shape(plan.sample.sample_shape, steps)) is not None:
        size = (found.width, found.height)
    assert isinstance(labels, Labels)
    return stored_form(labels, plan, given.detections, size)


def _read_samples(source: Path, given: LabeledOptions) -> _Samples:
    if source.is_dir():
        if not given.labels:
            what = "a folder of pictures needs labels"
            raise FleetmarkError(ErrorKind.USAGE, what, "--dataset", "Give --labels labels.csv")
        if given.metric in OUTPUT_METRICS:
            what = f"{given.metric} needs expected outputs, and a folder of pictures has classes"
            next_step = "Give an .npz file with x and y"
            raise FleetmarkError(ErrorKind.USAGE, what, "--metric", next_step)
        return _read_folder(source, given)
    if source.suffix.lower() != ".npz":
        what = f"{source} is neither a folder of pictures nor an .npz file"
        raise FleetmarkError(ErrorKind.USAGE, what, "--dataset")
    has_texts = given.metric in TRANSCRIPT_METRICS
    for option, value in (("--labels", given.labels), ("--classes", given.classes)):
        if value and not has_texts:
            what = "an .npz file has its labels in the array y"
            raise FleetmarkError(ErrorKind.USAGE, what, option, "Leave the option out")
    where = str(source)
    arrays = read_archive(source, where)
    wanted = ("x",) if has_texts else ("x", "y")
    if set(arrays) != {*wanted}:
        listed = ", ".join(sorted(arrays))[:200]
        raise values_error(where, f"has the arrays {listed}, expected {' and '.join(wanted)}")
    if has_texts:
        labels = read_file_labels(given.labels, given.classes, given.metric)
    else:
        labels = read_given_labels(arrays["y"], given.metric, where)
    if arrays["x"].ndim < 1 or len(arrays["x"]) != len(labels):
        shape = list(arrays["x"].shape)
        place = given.labels if has_texts else "y"
        raise values_error(where, f"has x {shape} and {len(labels):,} labels in {place}")
    return _Samples(labels, array=arrays["x"], where=where)


def _read_folder(folder: Path, given: LabeledOptions) -> _Samples:
    names = sorted(_picture_names(folder))
    if not names:
        raise values_error(str(folder), "has no pictures (.png, .jpg, .jpeg)")
    paths = tuple(folder / name for name in names)
    if Path(given.labels).is_dir():
        labels_of = label_pictures(Path(given.labels), folder, paths, given.metric, given.classes)
        return _Samples(labels_of, paths, where=str(folder))
    if given.metric in DETECTION_METRICS:
        boxes = read_coco(Path(given.labels), folder, paths, given.classes)
        return _Samples(boxes, paths, where=str(folder))
    labels = read_file_labels(given.labels, given.classes, given.metric, names)
    return _Samples(labels, paths, where=str(folder))


def _picture_names(folder: Path) -> Iterator[str]:
    """Yield the paths of the pictures below a folder, relative to it; links are not followed."""
    count = 0
    for place, _, files in os.walk(folder):
        for file in files:
            if Path(file).suffix.lower() not in PICTURES:
                continue
            count += 1
            if count > MAX_SAMPLES:
                raise values_error(str(folder), f"has more than {MAX_SAMPLES:,} pictures")
            path = Path(place) / file
            if path.is_symlink():
                raise values_error(str(path), "is a link; put the file itself into the folder")
            yield path.relative_to(folder).as_posix()


def _prepared(samples: _Samples, tensor: Tensor, plan: ImportPlan, steps: Preprocess) -> Array:
    import numpy as np

    entry, count = plan.sample, len(samples.labels)
    if entry.name != tensor.name:
        what = f"input {entry.name} has other values for each sample, too"
        raise FleetmarkError(ErrorKind.USAGE, what, "--dataset")
    dtype = np.dtype(tensor.dtype)
    size = count * math.prod(entry.sample_shape) * dtype.itemsize
    if size > MAX_BYTES:
        what = f"{count:,} samples give {size >> 20:,} MiB of values, more than {MAX_BYTES >> 20}"
        raise values_error(samples.where, what)
    if not samples.is_pictures:
        assert samples.array is not None
        return _given_values(samples.array, tensor, plan, samples.where)
    shape = picture_shape(tensor.name, entry.sample_shape, steps)
    values = np.empty((count, *entry.sample_shape), dtype)
    for number, picture in enumerate(_pictures(samples)):
        pixels = fit_picture(picture, shape, steps)
        values[number] = to_values(pixels, shape, steps, tensor).reshape(entry.sample_shape)
    return values


def _given_values(array: Array, tensor: Tensor, plan: ImportPlan, where: str) -> Array:
    entry = plan.sample
    if array.shape[1:] != entry.sample_shape:
        what = f"has x {list(array.shape)}, and input {entry.name} needs {list(entry.sample_shape)}"
        raise values_error(where, f"{what} for each sample")
    if tensor.quantization is not None and array.dtype.kind == "f":
        return typed(array, tensor, where)
    return converted(array, entry, where)


def _pictures(samples: _Samples) -> Iterator[Image]:
    from PIL import Image

    if samples.array is None:
        for path in samples.pictures:
            yield _open_picture(path)
        return
    # A last axis that cannot be channels belongs to pictures of one channel.
    array = samples.array
    if array.ndim == 4 and array.shape[3] not in (1, 3):
        what = f"has x {list(array.shape)}, expected uint8 [N, height, width, 1 or 3]"
        raise values_error(samples.where, what)
    if not all(array.shape):
        raise values_error(samples.where, f"has x {list(array.shape)}, which has no values")
    for row in array:
        yield Image.fromarray(row[..., 0] if row.ndim == 3 and row.shape[2] == 1 else row)


def _open_picture(path: Path) -> Image:
    from PIL import Image

    where = str(path)
    try:
        data = read_regular(path, _MAX_PICTURE_BYTES)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as opened:
                if opened.width * opened.height > _MAX_PIXELS:
                    raise values_error(where, f"has more than {_MAX_PIXELS:,} pixels")
                picture: Image.Image = opened.convert("RGB")
                return picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
        text = re.sub(r"\s+", " ", str(error))
        raise values_error(where, f"is not a PNG or JPEG picture: {text}"[:300]) from error
