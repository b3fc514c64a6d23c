"""Pictures of an operator: opened with limits on their bytes and pixels."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from fleetmark_controller.artifacts.model_import.value_archive import values_error
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.regular_file import read_regular

if TYPE_CHECKING:
    from PIL.Image import Image

_MAX_PICTURE_BYTES = 64 << 20
_MAX_PIXELS = 100_000_000


def picture_size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture.

    Raises:
        FleetmarkError: USAGE: it is not a picture.
    """
    with open_picture(path, ("PNG", "JPEG")) as opened:
        return opened.width, opened.height


def read_picture(path: Path, mode: str = "RGB") -> Image:
    """Return a decoded PNG or JPEG picture.

    Args:
        path: the file.
        mode: Pillow's name of the channels that it gets: L, RGB or RGBA.

    Raises:
        FleetmarkError: USAGE: it is not a picture, is damaged, or is too large.
    """
    try:
        with open_picture(path, ("PNG", "JPEG")) as opened:
            picture: Image = opened.convert(mode)
            return picture
    except (OSError, ValueError, SyntaxError) as error:
        raise picture_error(path, ("PNG", "JPEG"), error) from error


def picture_error(path: Path, formats: tuple[str, ...], error: Exception) -> FleetmarkError:
    """Return the error for a file that is not a picture of these formats."""
    text = re.sub(r"\s+", " ", str(error))
    return values_error(str(path), f"is not a {' or '.join(formats)} picture: {text}"[:300])


def open_picture(path: Path, formats: tuple[str, ...]) -> Image:
    """Return a picture whose pixels are not decoded yet.

    Raises:
        FleetmarkError: USAGE: it has none of these formats, or is too large.
    """
    from PIL import Image

    try:
        data = read_regular(path, _MAX_PICTURE_BYTES)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data), formats=formats)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
        raise picture_error(path, formats, error) from error
    if opened.width * opened.height > _MAX_PIXELS:
        raise values_error(str(path), f"has more than {_MAX_PIXELS:,} pixels")
    return opened
