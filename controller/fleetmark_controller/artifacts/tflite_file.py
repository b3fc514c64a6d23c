"""Reads what matters of a TFLite file (flatbuffer) without any library of TFLite."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.artifacts.onnx_file import Tensor

MAX_BYTES = 2 << 30
_DTYPES = {0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 9: "int8"}
_MAX_TENSORS = 1000


class NotTfliteError(ValueError):
    """The bytes are no TFLite model; the text says why."""


@dataclass(frozen=True)
class TfliteModel:
    """What a file says of itself."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_tflite(path: Path) -> TfliteModel:
    """What the model at `path` says.

    Raises:
        NotTfliteError: it is no TFLite model.
        OSError: it cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise NotTfliteError("is larger than a TFLite file can be")
    reader = _Flat(path.read_bytes())
    if reader.data[4:8] != b"TFL3":
        raise NotTfliteError("does not say TFL3 at its fourth byte")
    try:
        graphs = reader.tables(reader.offset(0), 2)
        tensors = reader.tables(graphs[0], 0)
        sides = [
            tuple(reader.tensor(tensors[index]) for index in reader.numbers(graphs[0], field))
            for field in (1, 2)
        ]
    except (struct.error, IndexError, OverflowError) as error:
        raise NotTfliteError("has no graph that can be read: it is cut short or changed") from error
    if not sides[0] or not sides[1]:
        raise NotTfliteError("has a graph without inputs or outputs")
    return TfliteModel(*sides)


class _Flat:
    """Tables, vectors and strings of a flatbuffer; whatever points outside raises."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def offset(self, place: int) -> int:
        (distance,) = struct.unpack_from("<I", self.data, place)
        return place + int(distance)

    def field(self, table: int, number: int) -> int:
        """Where a table's field lies; 0 if it is not there."""
        (back,) = struct.unpack_from("<i", self.data, table)
        index = table - int(back)
        if index < 0:
            raise IndexError("outside")
        (size,) = struct.unpack_from("<H", self.data, index)
        if 4 + number * 2 >= size:
            return 0
        (place,) = struct.unpack_from("<H", self.data, index + 4 + number * 2)
        return table + int(place) if place else 0

    def vector(self, table: int, number: int) -> tuple[int, int]:
        """Where a vector's first element lies, and how many there are."""
        place = self.field(table, number)
        if not place:
            return 0, 0
        start = self.offset(place)
        (count,) = struct.unpack_from("<I", self.data, start)
        if int(count) * 4 > len(self.data):
            raise IndexError("outside")
        return start + 4, int(count)

    def tables(self, table: int, number: int) -> list[int]:
        start, count = self.vector(table, number)
        return [self.offset(start + 4 * index) for index in range(count)]

    def numbers(self, table: int, number: int) -> list[int]:
        start, count = self.vector(table, number)
        if count > _MAX_TENSORS:
            raise IndexError("outside")
        found = list(struct.unpack_from(f"<{count}i", self.data, start)) if count else []
        if any(value < 0 for value in found) and number in (1, 2):
            raise IndexError("outside")
        return found

    def tensor(self, table: int) -> Tensor:
        place = self.field(table, 1)
        kind = self.data[place] if place else 0
        name = self.field(table, 3)
        text = b""
        if name:
            start = self.offset(name)
            (size,) = struct.unpack_from("<I", self.data, start)
            text = self.data[start + 4 : start + 4 + min(int(size), 400)]
        shape = tuple(max(size, 0) for size in self.numbers(table, 0))
        return Tensor(text.decode(errors="replace"), _DTYPES.get(kind, ""), shape)
