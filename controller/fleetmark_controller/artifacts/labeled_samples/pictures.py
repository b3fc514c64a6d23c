"""Labeled pictures of an import: a folder of PNG and JPEG files, or pixels of an archive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.labeled_samples.box_labels import PictureBoxes, read_coco
from fleetmark_controller.artifacts.labeled_samples.label_pictures import (
    LabelPictures,
    label_pictures,
)
from fleetmark_controller.artifacts.labeled_samples.labels import Labels, read_file_labels
from fleetmark_controller.artifacts.labeled_samples.preprocess import (
    Preprocess,
    fit_picture,
    open_picture_shape,
    parse_preprocess,
    picture_shape,
    to_values,
)
from fleetmark_controller.artifacts.labeled_samples.samples import (
    FittedLabels,
    LabeledOptions,
    PreparedSamples,
)
from fleetmark_controller.artifacts.model_formats.model_graph import Tensor
from fleetmark_controller.artifacts.model_import.picture_files import read_picture
from fleetmark_controller.artifacts.model_import.plan import PlannedInput
from fleetmark_controller.artifacts.model_import.value_archive import values_error
from fleetmark_controller.evaluation.metrics.names import DETECTION_METRICS

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

    Array = npt.NDArray[Any]


@dataclass(frozen=True)
class PictureSamples:
    """Pictures of a folder, with their labels."""

    metric: str
    labels: Labels | LabelPictures | PictureBoxes
    where: str
    tensor: Tensor
    steps: Preprocess
    paths: tuple[Path, ...]
    next_step: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Name of the input."""
        return (self.tensor.name,)

    def open_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape that the steps give to an input with open dimensions."""
        sizes = open_picture_shape(self.tensor, self.steps)
        return {self.tensor.name: sizes} if sizes else {}

    @property
    def count(self) -> int:
        """The number of pictures."""
        return len(self.labels)

    def fit_labels(self, planned: Mapping[str, PlannedInput]) -> FittedLabels:
        """Return the labels; those of places are prepared as the pictures; see `Samples`."""
        entry, labels = planned[self.tensor.name], self.labels
        shape = picture_shape(entry.name, entry.array_shape, self.steps)
        if isinstance(labels, PictureBoxes):
            labels = Labels(self.metric, labels.fitted(shape, self.steps))
        elif isinstance(labels, LabelPictures):
            labels = labels.fitted(shape, self.steps)
        return FittedLabels(labels, (shape.width, shape.height))

    def prepare(self, planned: Mapping[str, PlannedInput]) -> PreparedSamples:
        """Return the values of the pictures; see `Samples`."""
        entry = planned[self.tensor.name]
        pictures = map(read_picture, self.paths)
        values = picture_values(pictures, len(self.paths), self.tensor, entry, self.steps)
        return PreparedSamples({self.tensor.name: values})


def read_pictures(
    folder: Path, names: list[str], tensor: Tensor, given: LabeledOptions
) -> PictureSamples:
    """Return the pictures of a folder.

    Args:
        folder: the folder.
        names: paths of the pictures in it.
        tensor: the input that gets them.
        given: labels and preparation.

    Raises:
        FleetmarkError: USAGE: the labels are not those of the pictures, or a step is not valid.
    """
    steps = parse_preprocess(given.preprocess)
    paths = tuple(folder / name for name in names)
    labels: Labels | LabelPictures | PictureBoxes
    if Path(given.labels).is_dir():
        labels = label_pictures(Path(given.labels), folder, paths, given.metric, given.classes)
    elif given.metric in DETECTION_METRICS:
        labels = read_coco(Path(given.labels), folder, paths, given.classes)
    else:
        labels = read_file_labels(given.labels, given.classes, given.metric, names)
    return PictureSamples(given.metric, labels, str(folder), tensor, steps, paths)


def picture_values(
    pictures: Iterable[Image], count: int, tensor: Tensor, entry: PlannedInput, steps: Preprocess
) -> Array:
    """Return pictures as an array [N, …] of an input.

    Raises:
        FleetmarkError: USAGE: the input does not take such pictures.
    """
    import numpy as np

    shape = picture_shape(tensor.name, entry.array_shape, steps)
    values = np.empty((count, *entry.array_shape), np.dtype(tensor.dtype))
    for number, picture in enumerate(pictures):
        pixels = fit_picture(picture, shape, steps)
        values[number] = to_values(pixels, shape, steps, tensor).reshape(entry.array_shape)
    return values


def array_pictures(array: Array, what: str, where: str) -> Iterator[Image]:
    """Yield the pictures of an array uint8 [N, height, width] or [N, height, width, channels].

    Args:
        array: the pixels.
        what: name of the array, for messages.
        where: its file, for messages.

    Raises:
        FleetmarkError: USAGE: the last axis cannot be channels, or there are no pixels.
    """
    from PIL import Image

    if array.ndim == 4 and array.shape[3] not in (1, 3):
        expected = "expected uint8 [N, height, width, 1 or 3]"
        raise values_error(where, f"has {what} {list(array.shape)}, {expected}")
    if not all(array.shape):
        raise values_error(where, f"has {what} {list(array.shape)}, which has no values")
    for row in array:
        # A last axis of 1 belongs to pictures of one channel.
        yield Image.fromarray(row[..., 0] if row.ndim == 3 and row.shape[2] == 1 else row)
