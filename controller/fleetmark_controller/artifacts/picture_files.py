"""Pictures of an operator: opened with limits on their bytes and pixels."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from fleetmark_controller.artifacts.value_archive import values_error
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


def open_picture(path: Path, formats: tuple[str, ...]) -> Image:
    """Return a picture whose pixels are not decoded yet.

    Raises:
        FleetmarkError: USAGE: it has none of these formats, or is too large.
    """
    from PIL import Image

    where = str(path)
    try:
        data = read_regular(path, _MAX_PICTURE_BYTES)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(io.BytesIO(data), formats=formats)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Warning) as error:
        text = re.sub(r"\s+", " ", str(error))
        raise values_error(where, f"is not a {formats[0]} picture: {text}"[:300]) from error
    if opened.width * opened.height > _MAX_PIXELS:
        raise values_error(where, f"has more than {_MAX_PIXELS:,} pixels")
    return opened
