"""Reads regular files of bounded size: no device, no FIFO."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

OWN_FILE_BYTES = 64 * 1024 * 1024
"""More than any file that a program of ours keeps whole in memory."""

_STEP_BYTES = 1024 * 1024


class DamagedFileError(OSError):
    """A file is not regular, or larger than it may be: something else put it there."""


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    The open does not block: a plain open of a FIFO waits for a writer.

    Raises:
        OSError: the file does not exist or cannot be read; EISDIR if it is a folder.
        DamagedFileError: it is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular(descriptor, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_regular(path: Path, limit_bytes: int = OWN_FILE_BYTES) -> bytes:
    """Return the bytes of a regular file, at most `limit_bytes` of them.

    Raises:
        OSError: the file does not exist or cannot be read; EISDIR if it is a folder.
        DamagedFileError: it is not a regular file, or larger.
    """
    with open_regular(path) as file:
        # Reading asks for memory first: not for more than there is to read.
        wanted = min(os.fstat(file.fileno()).st_size, limit_bytes) + 1
        data = file.read(wanted)
        while len(data) <= limit_bytes and (more := file.read(_STEP_BYTES)):
            data += more  # the file has grown meanwhile
    if len(data) > limit_bytes:
        raise DamagedFileError(errno.EFBIG, f"it is larger than {limit_bytes:,} bytes", str(path))
    return data


def check_regular(descriptor: int, path: Path) -> None:
    """Refuse what is open under `descriptor` unless it is a regular file; `path` is its name.

    Raises:
        OSError: EISDIR: it is a folder.
        DamagedFileError: it is another thing that is not a regular file.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise DamagedFileError(errno.EINVAL, "it is not a regular file", str(path))


def is_damage(error: OSError) -> bool:
    """Return whether an error tells of what stands at a path, not of permissions or room."""
    return isinstance(error, (DamagedFileError, IsADirectoryError))
