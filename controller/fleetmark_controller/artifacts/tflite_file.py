"""Read the metadata of a TFLite file (flatbuffer) without a TFLite library."""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.artifacts.onnx_file import Tensor
from fleetmark_core.regular_file import open_regular

MAX_BYTES = 2 << 30
_DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 9: "int8"}
_MAX_TENSORS = 1000
_MAX_DIMENSIONS = 64
_MAX_NAME_BYTES = 400


class NotTfliteError(ValueError):
    """The bytes are not a TFLite model; the text says why."""


@dataclass(frozen=True)
class TfliteDescription:
    """The metadata of a TFLite model."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_tflite(path: Path) -> TfliteDescription:
    """Return the metadata of the model at `path`.

    Only the needed parts are read, a few bytes at a time, so that a file of gigabytes needs little
    memory.

    Args:
        path: The file.

    Raises:
        NotTfliteError: the file is not a TFLite model.
        OSError: the file cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        reader = _Flat(file.fileno())
        if reader.size_bytes > MAX_BYTES:
            raise NotTfliteError("is larger than the format allows")
        try:
            if reader.bytes(4, 4) != b"TFL3":
                raise NotTfliteError("does not have the mark TFL3 at byte 4")
            graph = reader.table(reader.offset(0), _SUBGRAPHS, 0)
            sides = [
                tuple(
                    reader.tensor(reader.table(graph, _TENSORS, index))
                    for index in reader.numbers(graph, field)
                )
                for field in (_INPUTS, _OUTPUTS)
            ]
        except (struct.error, IndexError, OverflowError) as error:
            what = "has no readable graph: it is truncated or damaged"
            raise NotTfliteError(what) from error
    if not sides[0] or not sides[1]:
        raise NotTfliteError("has a graph without inputs or outputs")
    return TfliteDescription(*sides)


_SUBGRAPHS = 2
"""Field of the model; the next three are fields of a subgraph."""
_TENSORS, _INPUTS, _OUTPUTS = 0, 1, 2


class _Flat:
    """Reader of tables, vectors and strings of a flatbuffer.

    An offset outside the file raises IndexError.

    The file is read and not mapped, because a mapped file that is truncated meanwhile kills the
    process.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size_bytes = os.fstat(descriptor).st_size

    def bytes(self, place: int, size: int) -> bytes:
        """Return `size` bytes at `place`."""
        if place < 0 or place + size > self.size_bytes:
            raise IndexError("outside")
        data = os.pread(self._descriptor, size, place)
        if len(data) < size:
            raise IndexError("outside")
        return data

    def number(self, form: str, place: int) -> int:
        (value,) = struct.unpack(form, self.bytes(place, struct.calcsize(form)))
        return int(value)

    def offset(self, place: int) -> int:
        return place + self.number("<I", place)

    def field(self, table: int, number: int) -> int:
        """Return the position of a table's field; 0 if the field is absent."""
        index = table - self.number("<i", table)
        size = self.number("<H", index)
        if 4 + number * 2 >= size:
            return 0
        place = self.number("<H", index + 4 + number * 2)
        return table + place if place else 0

    def vector(self, table: int, number: int) -> tuple[int, int]:
        """Return the position of a vector's first element, and the number of elements."""
        place = self.field(table, number)
        if not place:
            return 0, 0
        start = self.offset(place)
        count = self.number("<I", start)
        if start + 4 + count * 4 > self.size_bytes:
            raise IndexError("outside")
        return start + 4, count

    def table(self, table: int, number: int, index: int) -> int:
        """Return the position of the table `index` in a vector of tables."""
        start, count = self.vector(table, number)
        if not 0 <= index < count:
            raise IndexError("outside")
        return self.offset(start + 4 * index)

    def numbers(self, table: int, number: int) -> list[int]:
        start, count = self.vector(table, number)
        if count > _MAX_TENSORS:
            raise IndexError("outside")
        return list(struct.unpack(f"<{count}i", self.bytes(start, 4 * count))) if count else []

    def tensor(self, table: int) -> Tensor:
        place = self.field(table, 1)
        kind = self.number("<B", place) if place else 0
        name = self.field(table, 3)
        text = b""
        if name:
            start = self.offset(name)
            text = self.bytes(start + 4, min(self.number("<I", start), _MAX_NAME_BYTES))
        sizes = self.numbers(table, 0)
        if len(sizes) > _MAX_DIMENSIONS:
            raise IndexError("outside")
        shape = tuple(max(size, 0) for size in sizes)
        return Tensor(text.decode(errors="replace"), _DTYPES.get(kind, ""), shape)
