"""Keeps keys and credentials unreadable, and homes unwritable, for users other than the owner."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from fleetmark_core.errors import ErrorKind, FleetmarkError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def protect_files(paths: Iterable[Path]) -> list[str]:
    """Set the mode of each private file to 0600 if group or others have any right to it.

    Files that do not exist are left out. What they hold may have been read already: each change is
    one line for users, which this returns.

    Raises:
        FleetmarkError: CONFIGURATION: a mode cannot be set.
    """
    return [
        f"{path}: other users could use this private file (mode {mode:04o}); its mode was set to"
        " 0600. Replace the key if they may have read it"
        for path in paths
        if (mode := _narrow(path, _OTHERS, 0o600)) is not None
    ]


def protect_folders(paths: Iterable[Path]) -> list[str]:
    """Take away the right of group and others to write in folders that hold private files.

    Users who may write in a folder can put another key in place of the one there. Folders that do
    not exist are left out. Each change is one line for users, which this returns.

    Raises:
        FleetmarkError: CONFIGURATION: a mode cannot be set.
    """
    return [
        f"{path}: other users could write in this folder (mode {mode:04o}); its mode was set to"
        f" {mode & ~_WRITE_BY_OTHERS:04o}. Check that all files in it are yours"
        for path in paths
        if (mode := _narrow(path, _WRITE_BY_OTHERS, None)) is not None
    ]


def exposed_file_error(path: Path, mode: int, wanted: int, why: str) -> FleetmarkError:
    """Return the error for a file or folder whose mode is too wide and cannot be changed."""
    return FleetmarkError(
        ErrorKind.CONFIGURATION,
        f"other users have access (mode {mode:04o}), and its mode cannot be changed: {why}",
        str(path),
        f"Set its mode to {wanted:04o}, or copy it to a place where that is possible",
    )


def _narrow(path: Path, unwanted: int, wanted: int | None) -> int | None:
    """Set a mode without the `unwanted` bits; return the one before, or None if it was narrow."""
    try:
        found = path.stat()
    except OSError:
        return None  # the code that reads it says what is wrong
    mode = stat.S_IMODE(found.st_mode)
    expected_kind = stat.S_ISDIR if wanted is None else stat.S_ISREG
    if not mode & unwanted or not expected_kind(found.st_mode):
        return None
    target = mode & ~unwanted if wanted is None else wanted
    try:
        path.chmod(target)
    except OSError as error:
        raise exposed_file_error(path, mode, target, error.strerror or str(error)) from error
    return mode
