"""Recipe for clips of equal length from the WAV files of Debian packages, one class per package.

Options: `classes` is a list of tables with `deb`, `paths` and `without` (patterns) and `cut`:
"start" takes the first clip of each file that is long enough, "every" takes as many as each file
holds. `most` limits the clips per file. `rate_hz` is the sample rate that the files must have
(mono, 16 bits), and `samples` the length of a clip. The result is a NumPy archive with `x` (int16
[N, samples]) and `y` (the index of the class in the list).
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_controller.artifacts import from_deb
from fleetmark_controller.artifacts.recipes.npz_file import write_npz


def make(options: Mapping[str, Any], folder: Path, limit_bytes: int) -> Path:
    """Generate the file; the module describes the options."""
    length, rate_hz = int(options["samples"]), int(options["rate_hz"])
    clips: list[Any] = []
    classes: list[int] = []
    for number, table in enumerate(options["classes"]):
        files = dict(
            from_deb.matching(
                str(table["deb"]), [str(path) for path in table["paths"]], folder, limit_bytes
            )
        )
        without = [str(path) for path in table.get("without", ())]
        for name in sorted(files):
            if any(fnmatchcase(name, pattern) for pattern in without):
                continue
            sound = _sound(files[name], name, rate_hz)
            found = list(_cut(sound, length, str(table["cut"])))[: table.get("most")]
            clips += found
            classes += [number] * len(found)
    if not clips:
        raise ValueError("no file contains a clip")
    arrays = {"x": np.stack(clips).astype("<i2"), "y": np.array(classes, np.uint8)}
    return write_npz(folder / "clips.npz", arrays)


def _sound(data: bytes, name: str, rate_hz: int) -> Any:
    try:
        with wave.open(io.BytesIO(data)) as file:
            form = (file.getframerate(), file.getnchannels(), file.getsampwidth())
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError, RuntimeError) as error:
        raise ValueError(f"{name} is not a WAV file: {error}") from error
    if form != (rate_hz, 1, 2):
        raise ValueError(f"{name} is not mono with 16 bits at {rate_hz} Hz")
    return np.frombuffer(frames, "<i2")


def _cut(sound: Any, length: int, how: str) -> Iterator[Any]:
    if how not in ("start", "every"):
        raise ValueError(f"cut is {how!r}, expected start or every")
    count = len(sound) // length if how == "every" else min(1, len(sound) // length)
    for number in range(count):
        yield sound[number * length : (number + 1) * length]
