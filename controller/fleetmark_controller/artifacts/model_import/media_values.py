"""Values of an input from raw bytes, a WAV file or a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.model_import.picture_files import read_picture
from fleetmark_controller.artifacts.model_import.plan import PlannedInput
from fleetmark_controller.artifacts.model_import.value_archive import MAX_BYTES, values_error
from fleetmark_controller.artifacts.model_import.wave_file import read_wave
from fleetmark_core.regular_file import read_regular

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_INT16 = 32768.0


@dataclass(frozen=True)
class MediaValues:
    """Samples [N, …] of a file in the type of an input."""

    rows: Array
    note: str = ""
    """Sentence about what the values depend on."""


def raw_rows(path: Path, entry: PlannedInput) -> MediaValues:
    """Return the samples of a file of bytes, in the type and byte order of a little-endian device.

    Raises:
        FleetmarkError: USAGE: its size is not that of whole samples, or it has NaN values.
    """
    import numpy as np

    where = str(path)
    dtype = np.dtype(entry.dtype)
    size = math.prod(entry.array_shape) * dtype.itemsize
    try:
        data = read_regular(path, MAX_BYTES)
    except OSError as error:
        raise values_error(where, f"cannot be read: {error.strerror or error}") from error
    if not data or len(data) % size:
        raise values_error(
            where,
            f"has {len(data):,} bytes, and a sample of input {entry.name} "
            f"({entry.dtype} {list(entry.array_shape)}) has {size:,}",
        )
    if dtype.kind == "b" and any(byte > 1 for byte in data):
        raise values_error(where, f"input {entry.name}: has bytes other than 0 and 1")
    rows = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype)
    if dtype.kind == "f" and not np.isfinite(rows).all():
        raise values_error(where, f"input {entry.name}: has NaN or infinite values")
    return MediaValues(rows.reshape(-1, *entry.array_shape))


def wave_rows(path: Path, entry: PlannedInput) -> MediaValues:
    """Return the windows of a WAV file, each as long as a sample; the last one is filled up.

    Channels are averaged. An input of floating-point numbers gets values from -1 to 1. The rate is
    kept, and a note says which one it is.

    Raises:
        FleetmarkError: USAGE: the file is damaged or too large, or the input takes another type.
    """
    import numpy as np

    where, dtype = str(path), np.dtype(entry.dtype)
    if dtype.kind != "f" and entry.dtype != "int16":
        what = f"input {entry.name} takes {entry.dtype}, and sound is float or int16"
        raise values_error(where, what)
    sound = read_wave(path, MAX_BYTES)
    if sound.frames * dtype.itemsize > MAX_BYTES:
        raise values_error(where, f"has more than {MAX_BYTES >> 20} MiB of sound")
    mono = sound.mono()
    if dtype.kind != "f":
        mono = np.clip(np.floor(mono * _INT16), -_INT16, _INT16 - 1)
    length = math.prod(entry.array_shape)
    rows = np.zeros(-(-len(mono) // length) * length, dtype)
    with np.errstate(over="ignore"):
        rows[: len(mono)] = mono
    if dtype.kind == "f" and not np.isfinite(rows).all():
        raise values_error(where, f"input {entry.name}: has values that do not fit into {dtype}")
    note = (
        f"{path.name} has {sound.rate_hz:,} Hz, and is not resampled: the model must be one for "
        "this rate"
    )
    return MediaValues(rows.reshape(-1, *entry.array_shape), note)


def picture_rows(path: Path, entry: PlannedInput) -> MediaValues:
    """Return a PNG or JPEG picture as one sample, scaled to the input's height and width.

    The input is [height, width], or has 1, 3 or 4 channels as first or last axis. An input of
    floating-point numbers gets values from 0 to 1, int8 those from -128 to 127.

    Raises:
        FleetmarkError: USAGE: the file is damaged or too large, or the input is not one of a
            picture.
    """
    import numpy as np
    from PIL import Image

    where, shape = str(path), entry.array_shape
    while len(shape) > 3 and shape[0] == 1:
        shape = shape[1:]
    first = len(shape) == 3 and shape[0] in _MODES and shape[2] not in _MODES
    channels = 1 if len(shape) == 2 else shape[0 if first else -1] if len(shape) == 3 else 0
    if channels not in _MODES:
        what = f"input {entry.name} {list(entry.array_shape)} is not that of a picture"
        raise values_error(where, what)
    height, width = shape[1:] if first else shape[:2]
    picture = read_picture(path, _MODES[channels])
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture, np.uint8).reshape(height, width, channels)
    dtype = np.dtype(entry.dtype)
    if dtype.kind == "f":
        values: Any = (pixels / np.float32(255)).astype(dtype)
    elif entry.dtype == "int8":
        values = (pixels.astype(np.int16) - 128).astype(np.int8)
    elif dtype.kind in "iu":
        values = pixels.astype(dtype)
    else:
        raise values_error(where, f"input {entry.name} takes {entry.dtype}, not pixels")
    if first:
        values = np.moveaxis(values, -1, 0)
    return MediaValues(np.ascontiguousarray(values.reshape(1, *entry.array_shape)))
