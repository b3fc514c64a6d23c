"""Samples: all latencies of a run in one compact blob, and their percentiles.

The blob is a header of 16 bytes (`FMSL`, version 1, element size 8, count; little-endian), followed
by one zstd frame of the int64 nanoseconds with their bytes shuffled: all lowest bytes first, then
the next ones, and so on. The upper bytes of latencies are similar, which compresses to 2.6 to 2.8
bytes per sample. Differences between neighbors are noise, and compress worse.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fleetmark_controller.evaluation import thresholds
from fleetmark_controller.loadgen import limits
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_core.regular_file import open_regular

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Samples = NDArray[np.int64]

_HEADER = struct.Struct("<4sHHQ")
_MAGIC = b"FMSL"
_VERSION = 1
_ITEM_BYTES = 8
_ZSTD_LEVEL = 1
PART_SAMPLES = 1 << 18
_WHOLE_SAMPLES = 1 << 22
"""Up to this many samples (32 MiB), a blob is unpacked at once."""
_SKIP_BYTES = 1 << 20


def encode(samples: Samples) -> bytes:
    """Encode a run's samples as a blob.

    Raises:
        IngestError: there are more samples than a run can have, or they are not a list.
    """
    import numpy as np
    import zstandard

    if samples.ndim != 1 or samples.size > thresholds.MAX_SAMPLES:
        raise IngestError(
            f"samples have the shape {samples.shape},"
            f" not a list of at most {thresholds.MAX_SAMPLES}"
        )
    plain = np.ascontiguousarray(samples, dtype="<i8")
    shuffled = plain.view(np.uint8).reshape(-1, _ITEM_BYTES).T.tobytes()
    frame = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(shuffled)
    return _HEADER.pack(_MAGIC, _VERSION, _ITEM_BYTES, plain.size) + frame


def decode(blob: bytes) -> Samples:
    """Decode the samples of a blob, in the order in which they were taken.

    Raises:
        IngestError: it is not such a blob, is damaged, or is larger than permitted.
    """
    import numpy as np

    count = _count_of(blob)
    planes = _planes(blob, count)
    return np.ascontiguousarray(planes.T).view("<i8").reshape(-1).astype(np.int64, copy=False)


def decode_parts(blob: bytes, part: int = PART_SAMPLES) -> Iterator[Samples]:
    """Decode the samples of a blob in parts of at most `part` samples, in little memory.

    A blob of up to `_WHOLE_SAMPLES` is unpacked at once. A larger one is unpacked once for each of
    the eight places, so that its memory does not grow with the number of samples.

    Raises:
        IngestError: it is not such a blob, is damaged, or is larger than permitted. A large blob
            may turn out to be damaged only after some parts.
    """
    import numpy as np

    count = _count_of(blob)
    if count <= _WHOLE_SAMPLES:
        planes = _planes(blob, count)
        for first in range(0, count, part):
            rows = np.ascontiguousarray(planes[:, first : first + part].T)
            yield rows.view("<i8").reshape(-1).astype(np.int64, copy=False)
        return
    readers = [_place_reader(blob, place * count) for place in range(_ITEM_BYTES)]
    for first in range(0, count, part):
        size = min(part, count - first)
        rows = np.empty((size, _ITEM_BYTES), np.uint8)
        for place, reader in enumerate(readers):
            rows[:, place] = np.frombuffer(_read(reader, size), np.uint8)
        yield rows.view("<i8").reshape(-1).astype(np.int64, copy=False)


def _count_of(blob: bytes) -> int:
    import zstandard

    if len(blob) < _HEADER.size:
        raise IngestError("the blob is too short to hold samples")
    magic, version, item_bytes, count = _HEADER.unpack_from(blob)
    if magic != _MAGIC:
        raise IngestError("the blob does not hold samples")
    if version != _VERSION or item_bytes != _ITEM_BYTES:
        raise IngestError(
            f"the samples have format {version}, this version reads format {_VERSION}"
        )
    if count > thresholds.MAX_SAMPLES:
        raise IngestError(
            f"the header declares {count} samples, more than {thresholds.MAX_SAMPLES}"
        )
    try:
        # The size that the frame claims is what is allocated, so it is checked first.
        if zstandard.frame_content_size(blob[_HEADER.size :]) != count * _ITEM_BYTES:
            raise IngestError("the size of the samples does not match the header")
    except zstandard.ZstdError as error:
        raise _damaged(error) from error
    return int(count)


def _planes(blob: bytes, count: int) -> NDArray[np.uint8]:
    """Return the bytes of all samples by their place, [8, count]."""
    import numpy as np
    import zstandard

    try:
        shuffled = zstandard.ZstdDecompressor().decompress(
            blob[_HEADER.size :], allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise _damaged(error) from error
    if len(shuffled) != count * _ITEM_BYTES:
        raise IngestError("the size of the samples does not match the header")
    return np.frombuffer(shuffled, np.uint8).reshape(_ITEM_BYTES, -1)


def _place_reader(blob: bytes, offset: int) -> Any:
    """Return a reader of the unpacked bytes from `offset` on."""
    import zstandard

    reader = zstandard.ZstdDecompressor().stream_reader(memoryview(blob)[_HEADER.size :])
    while offset:
        skipped = min(offset, _SKIP_BYTES)
        _read(reader, skipped)
        offset -= skipped
    return reader


def _read(reader: Any, size: int) -> bytes:
    import zstandard

    try:
        data: bytes = reader.read(size)
    except zstandard.ZstdError as error:
        raise _damaged(error) from error
    if len(data) != size:
        raise IngestError("the size of the samples does not match the header")
    return data


def _damaged(error: Exception) -> IngestError:
    return IngestError(f"the samples are damaged: {error}")


def read_raw(path: Path) -> Samples:
    """Read samples as the harness writes them: little-endian int64 nanoseconds and nothing else.

    Raises:
        IngestError: the file cannot be read, is truncated, or contains impossible latencies.
    """
    import numpy as np

    try:
        size = path.stat().st_size
        if size % _ITEM_BYTES or size > thresholds.MAX_SAMPLES * _ITEM_BYTES:
            raise IngestError(f"has {size} bytes, which is not a valid list of int64", path.name)
        with open_regular(path) as file:
            samples = np.fromfile(file, dtype="<i8").astype(np.int64, copy=False)
    except OSError as error:
        raise IngestError(f"cannot be read: {error.strerror}", path.name) from error
    if samples.size:
        lowest, highest = int(samples.min()), int(samples.max())
        if lowest < 0 or highest > limits.MAX_LATENCY_NS:
            raise IngestError(
                f"holds latencies from {lowest} to {highest} ns, expected 0 to "
                f"{limits.MAX_LATENCY_NS}",
                path.name,
            )
    return samples


def percentile(ordered: Samples, share: float) -> int:
    """Return a percentile of sorted samples as LoadGen computes it: element floor(count × share).

    There is no interpolation: the result is a latency that occurred, and at least that share of all
    samples is not above it. `share` must be below 1, and the list must not be empty.
    """
    return int(ordered[min(int(ordered.size * share), ordered.size - 1)])
