"""Labels of segmentation in a folder: a picture of classes for each picture of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.labeled_samples.labels import TOP_1, Labels
from fleetmark_controller.artifacts.labeled_samples.position_labels import check_positions
from fleetmark_controller.artifacts.labeled_samples.preprocess import (
    PictureShape,
    Preprocess,
    place_picture,
)
from fleetmark_controller.artifacts.model_import.picture_files import (
    open_picture,
    picture_error,
    picture_size,
)
from fleetmark_controller.artifacts.model_import.value_archive import MAX_BYTES, values_error
from fleetmark_controller.evaluation.metrics.names import CLASS_METRICS
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import open_regular

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

_UNCOUNTED = 255
_IHDR_END = 26
"""Bytes of a PNG file up to the color type: signature, length, name, width, height, bit depth."""
_GRAY = 0
_MODES = ("L", "P", "1", "I;16", "I;16B", "I;16L", "I")


@dataclass(frozen=True)
class LabelPictures:
    """The files of labels, and the pictures that they belong to, in the same order."""

    metric: str
    labels: tuple[Path, ...]
    pictures: tuple[Path, ...]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.labels)

    def fitted(self, shape: PictureShape, steps: Preprocess) -> Labels:
        """Return the labels at the places that the pixels have in the input.

        The values of pixels are kept: each position has that of the nearest pixel. Positions beside
        the picture, and those with the value 255, are not counted.

        Args:
            shape: shape of the input.
            steps: the preparation of the pictures.

        Raises:
            FleetmarkError: USAGE: a file is damaged, hostile, has several channels, or does not
                have the size of its picture.
        """
        import numpy as np

        folder = str(self.labels[0].parent)
        if len(self) * shape.height * shape.width * 4 > MAX_BYTES:
            raise values_error(folder, f"gives more than {MAX_BYTES >> 22:,} labels")
        values = np.empty((len(self), shape.height, shape.width), np.int32)
        for number, (path, picture) in enumerate(zip(self.labels, self.pictures, strict=True)):
            values[number] = _read_label(path, picture, shape, steps)
        values[values == _UNCOUNTED] = -1
        return Labels(self.metric, check_positions(values, self.metric, folder))


def label_pictures(
    labels: Path, folder: Path, pictures: Sequence[Path], metric: str, classes: str
) -> LabelPictures:
    """Return the files of labels: `NAME.png` for each picture `NAME.png` or `NAME.jpg`.

    Args:
        labels: folder of the labels.
        folder: folder of the pictures; labels have the same places below their folder.
        pictures: the pictures.
        metric: the metric; empty: top-1.
        classes: value of `--classes`.

    Raises:
        FleetmarkError: USAGE: a label is missing, belongs to several pictures, or the metric does
            not count positions.
    """
    metric = metric or TOP_1
    if metric not in (*CLASS_METRICS, TOP_1):
        what = f"{metric} has no use for pictures of classes"
        next_step = f"Give --metric {TOP_1} or {' or '.join(CLASS_METRICS)}, or a file of labels"
        raise FleetmarkError(ErrorKind.USAGE, what, "--metric", next_step)
    if classes:
        what = "the values of label pictures are the numbers of classes, without names"
        raise FleetmarkError(ErrorKind.USAGE, what, "--classes", "Leave the option out")
    found = tuple(labels / path.relative_to(folder).with_suffix(".png") for path in pictures)
    seen: set[Path] = set()
    for path in found:
        if path in seen:
            what = "is the label of two pictures, whose names differ in .png"
            raise values_error(str(path), what)
        seen.add(path)
    for path in found:
        if path.is_symlink() or not path.is_file():
            what = "is a link; put the file itself into the folder"
            raise values_error(str(path), what if path.is_symlink() else "is missing")
    return LabelPictures(metric, found, tuple(pictures))


def _scaled_bits(path: Path) -> int:
    """Return the bits of gray pixels that the decoder scales to 8 bits; 0 for other pictures.

    It keeps the indices of palettes, and the values 0 and 1 of single bits. Source: the chunk IHDR,
    ISO/IEC 15948:2004, 11.2.2: bit depth and color type follow width and height.

    Args:
        path: a PNG file.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(path) as file:
        head = file.read(_IHDR_END)
    bits, color_type = head[-2], head[-1]
    return bits if color_type == _GRAY and bits in (2, 4) else 0


def _read_label(path: Path, picture: Path, shape: PictureShape, steps: Preprocess) -> Array:
    import numpy as np
    from PIL import Image

    where = str(path)
    try:
        with open_picture(path, ("PNG",)) as opened:
            bits = _scaled_bits(path)
            if bits:
                what = f"has gray pixels of {bits} bits, which are read as parts of 255"
                next_step = "Save it with 8 bits or a palette"
                raise FleetmarkError(ErrorKind.USAGE, what, where, next_step)
            if opened.mode not in _MODES:
                what = f"has the channels {opened.mode}, expected one: the number of the class"
                raise values_error(where, what)
            # An index of a palette is the class, whatever its color is.
            values = np.asarray(opened)
    except (OSError, ValueError, SyntaxError) as error:
        raise picture_error(path, ("PNG",), error) from error
    size, wanted = values.shape[::-1], picture_size(picture)
    if size != wanted:
        what = f"is {size[0]}x{size[1]}, and its picture is {wanted[0]}x{wanted[1]}"
        raise values_error(where, what)
    if values.dtype != np.uint8:
        values = values.astype(np.int32)
    placed = place_picture(Image.fromarray(values), shape, steps, _UNCOUNTED, is_smooth=False)
    return np.asarray(placed, np.int32)
