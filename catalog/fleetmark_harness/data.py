"""Reads data sets: images and labels from NumPy archives or idx files. Nothing is unpickled."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.exits import BAD_INPUT, JobError

_IDX_UINT8 = 0x08


@dataclass(frozen=True)
class LabelledImages:
    """Images as uint8 [N, …] and their classes as int64 [N]."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def read_images(
    dataset: Mapping[str, Any], images: Path, labels: Path | None = None
) -> LabelledImages:
    """The data set that `dataset` (the component's table) describes.

    Raises:
        JobError: BAD_INPUT: not readable, or not of the shape, type and size that it should be.
    """
    try:
        if dataset["layout"] == "npz":
            with np.load(images, allow_pickle=False) as archive:
                found, classes = archive[dataset["images"]], archive[dataset["labels"]]
        elif labels is not None:
            found, classes = _idx(images), _idx(labels)
        else:
            raise JobError(BAD_INPUT, "the job names no labels beside the images")
    except (OSError, ValueError, KeyError, EOFError, struct.error, zipfile.BadZipFile) as error:
        raise JobError(BAD_INPUT, f"data set {images.name} cannot be read: {error}") from error
    count = int(dataset["samples"])
    shape = (count, *dataset.get("shape", found.shape[1:]))
    if found.dtype != np.uint8 or found.size != np.prod(shape) or classes.shape != (count,):
        raise JobError(
            BAD_INPUT,
            f"data set {images.name}: found {found.dtype} {list(found.shape)} with "
            f"{classes.size} labels, expected uint8 {list(shape)}",
        )
    return LabelledImages(found.reshape(shape), classes.astype(np.int64))


def _idx(path: Path) -> npt.NDArray[np.uint8]:
    data = path.read_bytes()
    zeros, kind, dimensions = struct.unpack_from(">HBB", data)
    if zeros != 0 or kind != _IDX_UINT8:
        raise ValueError("is no idx file of bytes")
    shape = struct.unpack_from(f">{dimensions}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
