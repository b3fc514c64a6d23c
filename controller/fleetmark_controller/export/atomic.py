"""Files that are written completely or not at all."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetmark_core.atomic_file import replacement
from fleetmark_core.errors import ErrorKind, FleetmarkError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic(out: Path) -> Iterator[Path]:
    """Yield a path beside `out` to write to; rename it to `out` at the end.

    If anything fails, it is deleted. An existing file at `out` is kept until the end.

    Raises:
        FleetmarkError: USAGE: `out` cannot be written. DISK_FULL: there is no space left.
    """
    if out.is_dir():
        raise FleetmarkError(
            ErrorKind.USAGE, "the path is a folder", str(out), "Give the path of a file"
        )
    if not out.parent.is_dir():
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"the folder {out.parent} does not exist",
            str(out),
            "Create it, or give another path",
        )
    try:
        with replacement(out) as scratch:
            # The journal of SQLite beside an unfinished file, left by this process or an earlier
            # one.
            journal = scratch.with_name(f"{scratch.name}-journal")
            journal.unlink(missing_ok=True)
            try:
                yield scratch
            finally:
                journal.unlink(missing_ok=True)
    except OSError as error:
        raise _write_error(error, out) from error
    except sqlite3.Error as error:
        if "full" in str(error):
            raise _write_error(OSError(errno.ENOSPC, "no space left"), out) from error
        raise _write_error(OSError(errno.EIO, str(error)), out) from error


def _write_error(error: OSError, out: Path) -> FleetmarkError:
    if error.errno in _NO_ROOM:
        return FleetmarkError(
            ErrorKind.DISK_FULL,
            "no space left to write the file; an existing file was not changed",
            str(out),
            "Free space, or give a path on another file system",
        )
    return FleetmarkError(
        ErrorKind.USAGE,
        f"the file cannot be written: {error.strerror or error}",
        str(out),
        "Check its permissions, or give another path",
    )
