"""Read WAV files: PCM of 8 to 32 bits and floating-point numbers of 32 or 64 bits, of any rate.

The module `wave` of Python reads no floating-point numbers, and takes a file that is cut off for a
shorter one. The format is that of Microsoft's "Multiple channel audio data and WAVE files".
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.artifacts.model_import.value_archive import values_error
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

MIN_RATE_HZ, MAX_RATE_HZ = 1000, 384_000
MAX_CHANNELS = 64
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_NAMES = {2: "ADPCM", 6: "A-law", 7: "µ-law", 0x11: "ADPCM", 0x50: "MPEG", 0x55: "MP3", 0xFF: "AAC"}
_SUBFORMAT = bytes.fromhex("000000001000800000aa00389b71")
"""A subformat of WAVE_FORMAT_EXTENSIBLE is the number of a format and these bytes."""
_CONVERT = "Convert it to PCM of 16 bits"


@dataclass(frozen=True)
class WaveFile:
    """The frames of a WAV file, not yet decoded."""

    where: str
    rate_hz: int
    channels: int
    sample_bytes: int
    is_float: bool
    data: memoryview

    @property
    def frames(self) -> int:
        """Number of frames, at least one."""
        return len(self.data) // (self.sample_bytes * self.channels)

    def mono(self, most: int | None = None) -> Array:
        """Return the first frames as float64, with the mean of the channels.

        PCM becomes numbers from -1 to 1; floating-point numbers are kept.

        Args:
            most: maximum number of frames; None: all.

        Raises:
            FleetmarkError: USAGE: a value is NaN or infinite.
        """
        import numpy as np

        count = self.frames if most is None else min(most, self.frames)
        width = self.sample_bytes
        data = np.frombuffer(self.data[: count * width * self.channels], np.uint8)
        if self.is_float:
            values = data.view(f"<f{width}").astype(np.float64)
            if not np.isfinite(values).all():
                raise values_error(self.where, "has NaN or infinite values")
        elif width == 1:
            # PCM of 8 bits has no sign: silence is 128.
            values = (data.astype(np.float64) - 128) / 128
        else:
            padded = np.zeros((count * self.channels, 4), np.uint8)
            padded[:, 4 - width :] = data.reshape(-1, width)
            values = padded.view("<i4")[:, 0] / 2.0**31
        mono: Array = values.reshape(count, self.channels).mean(axis=1)
        return mono


def read_wave(path: Path, limit_bytes: int) -> WaveFile:
    """Return the frames of a WAV file.

    Args:
        path: the file.
        limit_bytes: maximum size of the file.

    Raises:
        FleetmarkError: USAGE: the file cannot be read, is too large, is damaged or cut off, or has
            another format.
    """
    where = str(path)
    try:
        data = read_regular(path, limit_bytes)
    except OSError as error:
        raise values_error(where, f"cannot be read: {error.strerror or error}") from error
    return parse_wave(data, where)


def parse_wave(data: bytes, where: str) -> WaveFile:
    """Return the frames of a WAV file in memory; see `read_wave`."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        what = "is not a WAV file: it does not begin with RIFF and WAVE"
        raise FleetmarkError(ErrorKind.USAGE, what, where, _CONVERT)
    place, form = 12, b""
    # Each chunk has 8 bytes at least, so that the loop ends.
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, place)
        place += 8
        if kind == b"data":
            if size > len(data) - place:
                left = len(data) - place
                what = f"is cut off: {size:,} bytes of sound are declared, and {left:,} are there"
                raise values_error(where, what)
            return _wave(form, memoryview(data)[place : place + size], where)
        if kind == b"fmt ":
            form = data[place : place + min(size, 40)]
        # Chunks begin at even places.
        place += size + size % 2
    raise values_error(where, "is not a WAV file: it has no chunk of sound")


def _wave(form: bytes, data: memoryview, where: str) -> WaveFile:
    if len(form) < 16:
        raise values_error(where, "is not a WAV file: it has no description of its format")
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", form)
    if tag == _EXTENSIBLE and len(form) == 40 and form[26:] == _SUBFORMAT:
        (tag,) = struct.unpack_from("<H", form, 24)
    if (tag, bits) not in (
        (_PCM, 8),
        (_PCM, 16),
        (_PCM, 24),
        (_PCM, 32),
        (_FLOAT, 32),
        (_FLOAT, 64),
    ):
        shown = {_PCM: "PCM", _FLOAT: "floating-point numbers", **_NAMES}.get(tag, f"format {tag}")
        what = f"has {shown} of {bits} bits, which is not supported"
        raise FleetmarkError(ErrorKind.USAGE, what, where, _CONVERT)
    if not 1 <= channels <= MAX_CHANNELS:
        raise values_error(where, f"has {channels:,} channels, expected 1 to {MAX_CHANNELS}")
    if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        what = f"has {rate_hz:,} Hz, expected {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,}"
        raise values_error(where, what)
    if frame_bytes != channels * bits // 8:
        what = f"declares frames of {frame_bytes} bytes for {channels} channels of {bits} bits"
        raise values_error(where, what)
    if not data or len(data) % frame_bytes:
        raise values_error(where, "has no whole frames of sound")
    return WaveFile(where, rate_hz, channels, bits // 8, tag == _FLOAT, data)
