"""Reads files that others may have put there: regular ones of bounded size, and nothing else."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

OWN_FILE_BYTES = 64 * 1024 * 1024
"""Larger than any file that agent or controller keeps whole in memory."""

_CHUNK = 1 << 20


class DamagedFileError(OSError):
    """A file is not regular, or larger than it may be: something else put it there."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; read it in pieces, since its size has no bound here.

    The open never waits, as that of a FIFO would, and never reaches a driver: a device is refused
    before it is opened.

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
        # The name may lead to another file since it was looked at.
        check_regular(descriptor, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit_bytes: int = OWN_FILE_BYTES) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: the file; links are followed.
        limit_bytes: the most that the file may hold; a larger one is not read.

    Raises:
        OSError: as `open_regular`.
        DamagedFileError: as `open_regular`; EFBIG if the file is larger than `limit_bytes`.
    """
    with open_regular(path) as file:
        size_bytes = os.fstat(file.fileno()).st_size
        if size_bytes > limit_bytes:
            raise _too_large_error(path, limit_bytes)
        # Files of /proc and /sys say that they hold nothing, and a file may grow.
        parts = []
        left = limit_bytes + 1
        while left and (part := file.read(min(left, max(_CHUNK, size_bytes + 1)))):
            parts.append(part)
            left -= len(part)
    if not left:
        raise _too_large_error(path, limit_bytes)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def check_regular(descriptor: int, path: Path) -> None:
    """Refuse what is open under `descriptor` unless it is a regular file; `path` is its name.

    Raises:
        OSError: EISDIR: it is a folder.
        DamagedFileError: it is another thing that is not a regular file.
    """
    _check_kind(os.fstat(descriptor), path)


def is_damage(error: OSError) -> bool:
    """Return whether an error tells of what stands at a path, not of permissions or room."""
    return isinstance(error, (DamagedFileError, IsADirectoryError))


def _check_kind(found: os.stat_result, path: Path) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "a special file")
        raise DamagedFileError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))


_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device node",
    stat.S_IFBLK: "a device node",
    stat.S_IFSOCK: "a socket",
}


def _too_large_error(path: Path, limit_bytes: int) -> DamagedFileError:
    return DamagedFileError(errno.EFBIG, f"it is larger than {limit_bytes:,} bytes", str(path))
