"""Reads data sets from NumPy archives, idx files, CIFAR records or zipped images.

Nothing is unpickled.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.exit_codes import BAD_INPUT, NO_RUNTIME, JobError

_IDX_UINT8 = 0x08
CIFAR_RECORD = 1 + 3 * 32 * 32
_TYPES = (np.uint8, np.int16, np.int32, np.float32)
# The central seven eighths of each image are used, as is usual for ImageNet.
_CROP = 0.875


@dataclass(frozen=True)
class Labeled:
    """Samples [N, …] as stored, and their classes as int64 [N]."""

    values: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]


def read_labeled(
    dataset: Mapping[str, Any],
    values: Path,
    labels: Path | None = None,
    shape: Sequence[int] = (),
) -> Labeled:
    """Read the data set that `dataset` (the component's table) describes.

    Args:
        dataset: the data set's table.
        values: the file with the samples.
        labels: the file with the labels, for layout idx.
        shape: shape of the model's input; images are resized to its height and width.

    Raises:
        JobError: BAD_INPUT: not readable, or of another shape, type or size than declared;
            NO_RUNTIME: Pillow is not installed.
    """
    try:
        if dataset["layout"] == "npz":
            with np.load(values, allow_pickle=False) as archive:
                found, classes = archive[dataset["images"]], archive[dataset["labels"]]
        elif dataset["layout"] == "cifar":
            found, classes = _cifar(values)
        elif dataset["layout"] == "pictures":
            found, classes = _pictures(values, str(dataset["labels"]), shape)
        elif labels is not None:
            found, classes = _idx(values), _idx(labels)
        else:
            raise JobError(BAD_INPUT, "the job has no input with the labels of the samples")
    except (OSError, ValueError, KeyError, EOFError, struct.error, zipfile.BadZipFile) as error:
        raise JobError(BAD_INPUT, f"data set {values.name} cannot be read: {error}") from error
    count = int(dataset["samples"])
    wanted = (count, *dataset.get("shape", found.shape[1:]))
    if found.dtype not in _TYPES or found.size != np.prod(wanted) or classes.shape != (count,):
        raise JobError(
            BAD_INPUT,
            f"data set {values.name}: found {found.dtype} {list(found.shape)} with "
            f"{classes.size} labels, expected {list(wanted)}",
        )
    return Labeled(found.reshape(wanted), classes.astype(np.int64))


def _idx(path: Path) -> npt.NDArray[np.uint8]:
    data = path.read_bytes()
    zeros, kind, dimensions = struct.unpack_from(">HBB", data)
    if zeros != 0 or kind != _IDX_UINT8:
        raise ValueError("it is not an idx file of bytes")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _cifar(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read records of one class byte and three planes of 32 by 32 pixels."""
    records = np.frombuffer(path.read_bytes(), np.uint8)
    if records.size % CIFAR_RECORD:
        raise ValueError(
            f"its size is not a multiple of {CIFAR_RECORD} bytes, the size of a record"
        )
    records = records.reshape(-1, CIFAR_RECORD)
    return np.moveaxis(records[:, 1:].reshape(-1, 3, 32, 32), 1, -1), records[:, 0]


def _pictures(
    path: Path, labels: str, shape: Sequence[int]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Read the images of a zip file in the order of their names; scale each and crop its center."""
    try:
        from PIL import Image
    except ImportError as error:
        raise JobError(NO_RUNTIME, f"images cannot be read: {error}") from error
    height, width = (int(size) for size in shape[:2])
    found = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".npy"):
                continue
            with Image.open(io.BytesIO(archive.read(name)), formats=("JPEG", "PNG")) as opened:
                picture = opened.convert("RGB")
            if picture.size != (width, height):
                factor = max(width / picture.width, height / picture.height) / _CROP
                size = (round(picture.width * factor), round(picture.height * factor))
                picture = picture.resize(size, Image.Resampling.BILINEAR)
                left, top = (size[0] - width) // 2, (size[1] - height) // 2
                picture = picture.crop((left, top, left + width, top + height))
            found.append(np.asarray(picture, np.uint8))
        with archive.open(f"{labels}.npy") as member:
            classes = np.lib.format.read_array(member, allow_pickle=False)
    return np.stack(found), classes
