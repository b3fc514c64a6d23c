"""Read a protobuf message field by field, within limits, without a schema.

Data that no handler consumes is skipped, so that a file of many gigabytes costs little.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO

_MAX_DEPTH = 40
MAX_TEXT = 4096
_MAX_FIELDS = 5_000_000


class ProtobufError(ValueError):
    """The bytes are not a protobuf message, or exceed a limit; the text says why."""


Handler = Callable[[int, int, int, int], bool]
"""Handles a field, given its number, its value or length, its end and its depth.

For a number, the second argument is its value and the end is negative. For bytes, it is their
length. Returns whether the handler consumed the bytes.
"""


class ProtobufReader:
    """Reader of the messages in one file. Its limits hold for the file as a whole."""

    def __init__(self, file: IO[bytes]) -> None:
        """Read `file` from its current position."""
        self.file = file
        self._fields = 0

    def message(self, end: int, handler: Handler, depth: int) -> None:
        """Pass each field up to the position `end` to `handler`.

        Raises:
            ProtobufError: the bytes are not a message, or have too many or too deep fields.
        """
        if depth > _MAX_DEPTH:
            raise ProtobufError("is nested too deeply")
        while (here := self.file.tell()) < end:
            self._fields += 1
            if self._fields > _MAX_FIELDS:
                raise ProtobufError("has too many fields")
            tag = self.number()
            field, wire = tag >> 3, tag & 7
            if field == 0:
                raise ProtobufError(f"is not a protobuf message at byte {here}")
            if wire == 0:
                handler(field, self.number(), -1, depth)
            elif wire in (1, 5):
                self._skip(8 if wire == 1 else 4, end)
            elif wire == 2:
                size = self.number()
                stop = self.file.tell() + size
                if stop > end:
                    raise ProtobufError("is truncated")
                if not handler(field, size, stop, depth):
                    self.file.seek(stop)
                elif self.file.tell() != stop:
                    raise ProtobufError("has a field of the wrong length")
            else:
                raise ProtobufError(f"is not a protobuf message at byte {here}")
        if self.file.tell() != end:
            raise ProtobufError("is truncated")

    def number(self) -> int:
        """Return the next varint."""
        value = 0
        for shift in range(0, 70, 7):
            byte = self.file.read(1)
            if not byte:
                raise ProtobufError("is truncated")
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return value
        raise ProtobufError("has a number with too many bytes")

    def _skip(self, size: int, end: int) -> None:
        if self.file.tell() + size > end:
            raise ProtobufError("is truncated")
        self.file.seek(size, os.SEEK_CUR)

    def text(self, size: int) -> str:
        """Return the next `size` bytes as text."""
        if size > MAX_TEXT:
            raise ProtobufError("has a name that is too long")
        return self.file.read(size).decode(errors="replace")
