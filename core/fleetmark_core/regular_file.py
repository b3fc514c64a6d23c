"""Reads files from untrusted places: regular files of limited size, and nothing else."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

OWN_FILE_BYTES = 64 * 1024 * 1024
"""Larger than any file that agent or controller reads into memory as a whole."""

_CHUNK = 1 << 20
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device node",
    stat.S_IFBLK: "a device node",
    stat.S_IFSOCK: "a socket",
}


class DamagedFileError(OSError):
    """Raised for a file that is not regular or is too large: something else put it there."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading. Read it in chunks: its size is not limited here.

    The open never blocks, as it would for a FIFO, and never reaches a driver: a device node is
    rejected before it is opened.

    Args:
        path: the file; links are followed.

    Raises:
        OSError: the file does not exist or cannot be read; EISDIR if it is a folder.
        DamagedFileError: EINVAL: it is another kind of file.
    """
    _check_kind(os.stat(path), path)  # noqa: PTH116  (one call, and no second import)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        # The path may refer to another file since the first check.
        check_regular(descriptor, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a regular file in chunks of at most 1 MiB.

    Args:
        path: the file; links are followed.

    Raises:
        OSError: as `open_regular`. An error of a read names `path`, too.
        DamagedFileError: as `open_regular`.
    """
    with open_regular(path) as file:
        while chunk := _read_chunk(file, path):
            yield chunk


def _read_chunk(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(_CHUNK)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def has_path(error: OSError, path: Path) -> bool:
    """Return whether an error names `path` as the file that it is about."""
    return error.filename in (path, str(path))


def read_regular(path: Path, limit_bytes: int = OWN_FILE_BYTES) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: the file; links are followed.
        limit_bytes: maximum size of the file; a larger file is not read.

    Raises:
        OSError: as `open_regular`.
        DamagedFileError: as `open_regular`; EFBIG if the file is larger than `limit_bytes`.
    """
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > limit_bytes:
            raise _too_large_error(path, limit_bytes)
        # Files in /proc and /sys report a size of 0, and a file may grow.
        parts = []
        left = limit_bytes + 1
        while left and (part := file.read(min(left, max(_CHUNK, size_bytes + 1)))):
            parts.append(part)
            left -= len(part)
    if not left:
        raise _too_large_error(path, limit_bytes)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def check_regular(descriptor: int, path: Path) -> None:
    """Reject an open descriptor unless it refers to a regular file; `path` is used in the error.

    Raises:
        OSError: EISDIR: it is a folder.
        DamagedFileError: it is another kind of file that is not regular.
    """
    _check_kind(os.fstat(descriptor), path)


def is_damage(error: OSError) -> bool:
    """Return whether an error is about the kind or size of a file, not about access or space."""
    return isinstance(error, (DamagedFileError, IsADirectoryError))


def _check_kind(found: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "a special file")
        raise DamagedFileError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))


def _too_large_error(path: Path, limit_bytes: int) -> DamagedFileError:
    return DamagedFileError(errno.EFBIG, f"it is larger than {limit_bytes:,} bytes", str(path))
