"""Read tables, vectors and strings of a flatbuffer, a few bytes at a time, without a schema."""

from __future__ import annotations

import os
import struct

MAX_NUMBERS = 1000
MAX_TEXT_BYTES = 400


class FlatReader:
    """Reader of tables, vectors and strings of a flatbuffer.

    An offset outside the file raises IndexError.

    The file is read and not mapped, because a mapped file that is truncated meanwhile kills the
    process.
    """

    def __init__(self, descriptor: int) -> None:
        """Read the file with this descriptor."""
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
        """Return the number at `place`; `form` is that of the module struct."""
        (value,) = struct.unpack(form, self.bytes(place, struct.calcsize(form)))
        return int(value)

    def offset(self, place: int) -> int:
        """Return the position to which the offset at `place` leads."""
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
        """Return a vector of 32-bit integers."""
        start, count = self.vector(table, number)
        if count > MAX_NUMBERS:
            raise IndexError("outside")
        return list(struct.unpack(f"<{count}i", self.bytes(start, 4 * count))) if count else []

    def text(self, table: int, number: int) -> str:
        """Return the beginning of a string; empty if the field is absent."""
        place = self.field(table, number)
        if not place:
            return ""
        start = self.offset(place)
        size = min(self.number("<I", start), MAX_TEXT_BYTES)
        return self.bytes(start + 4, size).decode(errors="replace")
