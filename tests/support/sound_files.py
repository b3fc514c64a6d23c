"""WAV files of each format, written without a library."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

EXTENSIBLE = bytes.fromhex("000000001000800000aa00389b71")


def wave_bytes(
    samples: npt.NDArray[Any],
    rate_hz: int,
    *,
    bits: int = 0,
    extensible: bool = False,
    before: bytes = b"",
) -> bytes:
    """Return a WAV file of frames [N] or [N, channels].

    Args:
        samples: uint8, int16, int32, float32 or float64 values.
        rate_hz: the rate.
        bits: 24 for the upper 24 bits of int32 values.
        extensible: whether the format is a subformat.
        before: chunks before that of the sound.
    """
    channels = samples.shape[1] if samples.ndim == 2 else 1
    tag = 3 if samples.dtype.kind == "f" else 1
    width = bits // 8 or samples.dtype.itemsize
    raw = samples.reshape(-1, 1).astype(samples.dtype.newbyteorder("<")).view(np.uint8)
    data = raw.reshape(-1, samples.dtype.itemsize)[:, -width:].tobytes()
    form = struct.pack(
        "<HHIIHH",
        *(0xFFFE if extensible else tag, channels, rate_hz),
        *(rate_hz * width * channels % (1 << 32), width * channels, 8 * width),
    )
    if extensible:
        form += struct.pack("<HHIH", 22, 8 * width, 0, tag) + EXTENSIBLE
    chunks = chunk(b"fmt ", form) + before + chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a RIFF file."""
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)
