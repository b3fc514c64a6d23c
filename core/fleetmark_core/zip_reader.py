"""Opens zip files that others hand in, without reading a list of entries that does not fit."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fleetmark_core.regular_file import open_regular

MAX_DIRECTORY_BYTES = 16 << 20
"""How large the list of entries may be, which zipfile reads whole."""


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file for reading.

    Args:
        path: the file.

    Raises:
        zipfile.BadZipFile: it is not a zip file, is cut short, or its list of entries is larger
            than `MAX_DIRECTORY_BYTES`.
        OSError: it cannot be read, or is not a regular file.
        ValueError, NotImplementedError, EOFError, struct.error: as zipfile raises them for damaged
            bytes.
    """
    with open_regular(path) as file:
        guarded = _Guarded(file)
        with zipfile.ZipFile(guarded) as archive:
            guarded.listed = True
            yield archive


class _Guarded(io.RawIOBase):
    """A file of which zipfile may read a bounded piece at once until it has listed the entries.

    Where the list lies, and how large it is, stands in up to three places of the file, which need
    not agree: the bound is on what is read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.listed = False

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        if not self.listed and (size < 0 or size > MAX_DIRECTORY_BYTES):
            if size >= 0:
                raise zipfile.BadZipFile("it holds more entries than can be listed")
            # zipfile reads the end of the file so, where a comment may stand.
            data = self._file.read(MAX_DIRECTORY_BYTES + 1)
            if len(data) > MAX_DIRECTORY_BYTES:
                raise zipfile.BadZipFile("it holds more entries than can be listed")
            return data
        return self._file.read(size)

    def seek(self, position: int, whence: int = 0) -> int:
        """Move to a position."""
        return self._file.seek(position, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True
