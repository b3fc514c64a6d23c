"""Labeled boxes of samples, for map and map50: an array, or a file in COCO's JSON format."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.labeled_samples.label_files import (
    MAX_CLASSES,
    MAX_SAMPLES,
    read_classes,
)
from fleetmark_controller.artifacts.labeled_samples.preprocess import (
    PictureShape,
    Preprocess,
    placement,
)
from fleetmark_controller.artifacts.model_import.picture_files import picture_size
from fleetmark_controller.artifacts.model_import.value_archive import MAX_BYTES, values_error
from fleetmark_controller.evaluation.metrics.detection import (
    ANSWER_BYTES,
    FEWEST_PIXELS,
    LABEL_COLUMNS,
    MAX_BOXES,
    check_boxes,
)
from fleetmark_controller.evaluation.metrics.stored_labels import answers_log_bytes, fits_log
from fleetmark_controller.loadgen.limits import MAX_ACCURACY_BYTES
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.regular_file import read_regular
from fleetmark_core.suggest import hint

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

_MAX_JSON_BYTES = 256 << 20
_COLUMNS = len(LABEL_COLUMNS)
_Box = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class PictureBoxes:
    """The boxes of each picture, in its own pixels: (class, x1, y1, x2, y2, crowd)."""

    where: str
    pictures: tuple[Path, ...]
    boxes: tuple[tuple[_Box, ...], ...]

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.pictures)

    def fitted(self, shape: PictureShape, steps: Preprocess) -> Array:
        """Return the boxes at the places that they have in the input, as float64 [N, boxes, 6].

        What a crop cuts off is cut off the boxes, too, and boxes outside are left out.

        Args:
            shape: shape of the input.
            steps: the preparation of the pictures.

        Raises:
            FleetmarkError: USAGE: a file is not a picture, or no box is left.
        """
        import numpy as np

        most = max(1, *map(len, self.boxes))
        if most > MAX_BOXES or len(self) * most * _COLUMNS * 8 > MAX_BYTES:
            raise values_error(self.where, f"has pictures with {most:,} boxes: too many values")
        made = np.zeros((len(self), most, _COLUMNS))
        made[..., 0] = -1
        for number, (picture, boxes) in enumerate(zip(self.pictures, self.boxes, strict=True)):
            if not boxes:
                continue
            place = placement(picture_size(picture), shape, steps)
            rows = np.array(boxes)
            rows[:, 1:5] = rows[:, 1:5] * (place.scale * 2) + (place.offset * 2)
            edges = np.array([shape.width, shape.height] * 2)
            cut = np.clip(rows[:, 1:5], 0, edges)
            is_left = (cut[:, 2:] > cut[:, :2]).all(axis=1)
            if steps.fit == "crop":
                rows[:, 1:5] = cut
                rows = rows[is_left]
            made[number, : len(rows)] = rows
        return checked_boxes(made, self.where)


def given_boxes(given: Array, where: str) -> Array:
    """Return boxes of an operator's array as float64 [N, boxes, 6].

    Args:
        given: floats [N, boxes, 5] of class, x1, y1, x2, y2 in pixels of the input, or with a
            sixth column that is 1 for a crowd. Rows of class -1 are unused.
        where: name of the file, for errors.

    Raises:
        FleetmarkError: USAGE: they are not such boxes.
    """
    import numpy as np

    if given.dtype.kind not in "fiu" or given.ndim != 3 or given.shape[2] not in (5, _COLUMNS):
        what = f"labels y are {given.dtype} {list(given.shape)}, expected floats [N, boxes, 5]"
        raise values_error(where, f"{what} of class, x1, y1, x2, y2")
    if len(given) * max(1, given.shape[1]) * _COLUMNS * 8 > MAX_BYTES:
        raise values_error(where, f"has labels y {list(given.shape)}: too many values")
    made = np.zeros((*given.shape[:2], _COLUMNS))
    made[..., : given.shape[2]] = given
    boxes = checked_boxes(made, where)
    if abs(boxes[boxes[..., 0] >= 0][:, 1:5]).max() <= FEWEST_PIXELS:
        raise _fractions_error(where, "the input")
    return boxes


def _fractions_error(where: str, which: str) -> FleetmarkError:
    what = f"has coordinates of at most {FEWEST_PIXELS:g} only: boxes are fractions, expected "
    next_step = f"Multiply x with the width of {which}, and y with its height"
    error = values_error(where, f"{what}pixels of {which}")
    return FleetmarkError(error.kind, error.what, error.where, next_step)


def checked_boxes(boxes: Array, where: str) -> Array:
    """Return boxes after a check.

    Raises:
        FleetmarkError: USAGE: they are not valid, or too many for LoadGen's accuracy log.
    """
    why = check_boxes(boxes)
    if why:
        raise values_error(where, why)
    if not 0 < len(boxes) <= MAX_SAMPLES or not fits_log(len(boxes), ANSWER_BYTES):
        total = answers_log_bytes(len(boxes), ANSWER_BYTES)
        raise values_error(
            where,
            f"{len(boxes):,} samples make an accuracy log of {total >> 20} MiB, more than "
            f"{MAX_ACCURACY_BYTES >> 20}: give fewer samples",
        )
    return boxes


def read_coco(path: Path, folder: Path, pictures: Sequence[Path], classes: str) -> PictureBoxes:
    """Return the boxes of pictures in a file in COCO's JSON format.

    A class is the place of its category in `categories`, or that of its name in `classes`. The file
    may have other images than those of the data set, which are left out.

    Args:
        path: the file.
        folder: folder of the pictures, whose names in it are the `file_name` of an image.
        pictures: the pictures.
        classes: value of `--classes`; empty for none.

    Raises:
        FleetmarkError: USAGE: the file is damaged, hostile, or lacks a picture.
    """
    where = str(path)
    document = _document(path)
    numbers = _categories(document, where, classes)
    ids: dict[str | int, str] = {}
    names: dict[str, str | int] = {}
    for place, image in enumerate(_tables(document, "images", where)):
        number, name = _id(image.get("id"), f"images[{place}].id", where), image.get("file_name")
        if not isinstance(name, str) or number in ids or name in names:
            what = f"images[{place}] has no file_name, or the id or file_name of another one"
            raise values_error(where, what)
        ids[number], names[name] = name, number
    wanted = [picture.relative_to(folder).as_posix() for picture in pictures]
    missing = [name for name in wanted if name not in names]
    if missing:
        what = f"has no image with the file_name {missing[0][:80]!r}"
        raise FleetmarkError(
            *(values_error(where, "").kind, what, where, hint(missing[0][:80], list(names)[:1000]))
        )
    boxes: dict[str | int, list[_Box]] = {names[name]: [] for name in wanted}
    for place, entry in enumerate(_tables(document, "annotations", where)):
        at = f"annotations[{place}]"
        image_id = _id(entry.get("image_id"), f"{at}.image_id", where)
        if image_id not in ids:
            raise values_error(where, f"{at} names the image {image_id!r:.80}, which is not there")
        if image_id in boxes:
            boxes[image_id].append(_box(entry, at, where, numbers))
    found = tuple(tuple(boxes[names[name]]) for name in wanted)
    edges = [abs(value) for one in found for box in one for value in box[1:5]]
    if edges and max(edges) <= FEWEST_PIXELS:
        raise _fractions_error(where, "the picture")
    return PictureBoxes(where, tuple(pictures), found)


def _document(path: Path) -> Mapping[str, Any]:
    where = str(path)
    try:
        found = json.loads(read_regular(path, _MAX_JSON_BYTES))
    except OSError as error:
        raise values_error(where, f"cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise values_error(where, f"is not JSON: {error}"[:300]) from error
    if not isinstance(found, dict):
        raise values_error(where, "is not an object with images, annotations and categories")
    return found


def _tables(document: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    found = document.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise values_error(where, f"has no list {key} of objects, as COCO's format has")
    return found


def _categories(document: Mapping[str, Any], where: str, classes: str) -> Mapping[str | int, int]:
    """Return the class of each category, by its id."""
    places = {}
    if classes:
        places = {name: place for place, name in enumerate(read_classes(Path(classes)))}
    found: dict[str | int, int] = {}
    for place, category in enumerate(_tables(document, "categories", where)):
        number = _id(category.get("id"), f"categories[{place}].id", where)
        if number in found:
            raise values_error(where, f"has the category {number!r:.80} twice")
        name = category.get("name")
        if not isinstance(name, str):
            if classes or "name" in category:
                what = f"categories[{place}].name is {_shown(name)}, expected a text"
                raise values_error(where, what)
        elif classes and name not in places:
            raise values_error(where, f"the category {name!r:.80} is not in {classes}")
        found[number] = places[str(name)] if classes else place
    if not 0 < len(found) <= MAX_CLASSES:
        raise values_error(where, f"has {len(found):,} categories, expected 1 to {MAX_CLASSES:,}")
    return found


def _box(entry: Mapping[str, Any], at: str, where: str, numbers: Mapping[str | int, int]) -> _Box:
    category = _id(entry.get("category_id"), f"{at}.category_id", where)
    if category not in numbers:
        raise values_error(where, f"{at} has the category {category!r:.80}, which is not there")
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_size, box)):
        what = f"{at}.bbox is {_shown(box)}, expected [x, y, width, height] of finite numbers"
        raise values_error(where, what)
    x, y, width, height = map(float, box)
    if width < 0 or height < 0:
        raise values_error(where, f"{at}.bbox has a negative width or height")
    crowd = entry.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise values_error(where, f"{at}.iscrowd is {_shown(crowd)}, expected 0 or 1")
    return (float(numbers[category]), x, y, x + width, y + height, float(crowd))


def _shown(value: object) -> str:
    """Return a short text for a value of any depth and size."""
    return reprlib.repr(value)[:80]


def _is_size(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # False for NaN, too.
    return is_number and -1e9 < value < 1e9  # type: ignore[operator]


def _id(value: object, at: str, where: str) -> str | int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise values_error(where, f"{at} is {_shown(value)}, expected a number or a text")
    return value
