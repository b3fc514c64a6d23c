"""Detection of full disks, and the error that says what to do about them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from fleetmark_core.errors import ErrorKind, FleetmarkError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LEAST_FREE_BYTES = 64 * 1024
_NAME = ".writable"


def is_disk_full(error: OSError) -> bool:
    """Return whether an error means that the file system is full or a quota is used up."""
    return error.errno in _FULL


def disk_full_error(folder: Path, what: str = "", suggestion: str = "") -> FleetmarkError:
    """Return the error for a folder on a full disk.

    Args:
        folder: the folder that cannot be written; users must free space on its file system.
        what: the consequence, for example "the store cannot be opened"; may be empty.
        suggestion: what in the folder may be deleted; may be empty.
    """
    consequence = f", {what}" if what else ""
    return FleetmarkError(
        ErrorKind.DISK_FULL,
        f"the disk is full{consequence}: no space left on its file system",
        str(folder),
        f"Free space there{f' ({suggestion})' if suggestion else ''} and start again, or choose"
        " another --home; all stored data is kept",
    )


def has_room(folder: Path) -> bool:
    """Return whether another 64 KiB can be written to an existing folder.

    Raises:
        OSError: the folder cannot be written for another reason.
    """
    path = folder / _NAME
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            data = memoryview(bytes(_LEAST_FREE_BYTES))
            while data:
                data = data[os.write(descriptor, data) :]
            os.fsync(descriptor)  # some file systems report a full disk only here
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)
    except OSError as error:
        if is_disk_full(error):
            return False
        raise
    return True
