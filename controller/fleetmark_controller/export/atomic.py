"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetmark_protos.errors import ErrorKind, FleetmarkError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic(out: Path) -> Iterator[Path]:
    """A path beside `out` to write to; renamed to `out` at the end, deleted if anything fails.

    What was at `out` stays until then.

    Raises:
        FleetmarkError: USAGE, `out` cannot be written; DISK_FULL, no room.
    """
    if out.is_dir():
        raise FleetmarkError(ErrorKind.USAGE, "is a folder", str(out), "Name a file in it")
    if not out.parent.is_dir():
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"the folder {out.parent} does not exist",
            str(out),
            "Make it, or name another path",
        )
    partial = out.with_name(f".{out.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.part")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(out)
        _fsync_folder(out.parent)
    except OSError as error:
        raise _explain(error, out) from error
    except sqlite3.Error as error:
        if "full" in str(error):
            raise _explain(OSError(errno.ENOSPC, "no room"), out) from error
        raise _explain(OSError(errno.EIO, str(error)), out) from error
    finally:
        for leftover in (partial, Path(f"{partial}-journal")):
            leftover.unlink(missing_ok=True)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explain(error: OSError, out: Path) -> FleetmarkError:
    if error.errno in _NO_ROOM:
        return FleetmarkError(
            ErrorKind.DISK_FULL,
            "no room to write it; what was there is as it was",
            str(out),
            "Free space, or name a path on another file system",
        )
    return FleetmarkError(
        ErrorKind.USAGE,
        f"cannot be written: {error.strerror or error}",
        str(out),
        "Check its permissions, or name another path",
    )
