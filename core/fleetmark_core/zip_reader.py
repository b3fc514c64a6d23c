"""Opens untrusted zip files without reading an entry list that is too large for the memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fleetmark_core.regular_file import open_regular

MAX_DIRECTORY_BYTES = 16 << 20
"""Maximum size of the list of entries, which zipfile reads as a whole."""


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip file for reading.

    Args:
        path: the file.

    Raises:
        zipfile.BadZipFile: it is not a zip file, is truncated, or its list of entries is larger
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
    """A file that limits the size of zipfile's reads until zipfile has listed the entries.

    The position and size of the entry list are stored in up to three places of the file, which need
    not agree. Therefore the limit applies to the bytes that are read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.listed = False

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        if not self.listed and (size < 0 or size > MAX_DIRECTORY_BYTES):
            if size >= 0:
                raise zipfile.BadZipFile(
                    f"its list of entries is larger than {MAX_DIRECTORY_BYTES} bytes"
                )
            # zipfile reads the end of the file this way, where a comment may be.
            data = self._file.read(MAX_DIRECTORY_BYTES + 1)
            if len(data) > MAX_DIRECTORY_BYTES:
                raise zipfile.BadZipFile(
                    f"its list of entries is larger than {MAX_DIRECTORY_BYTES} bytes"
                )
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
