"""Protects keys and credentials from other users' access, and home folders from their writes."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

from fleetmark_core.errors import ErrorKind, FleetmarkError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_WRITE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def protect_files(paths: Iterable[Path]) -> list[str]:
    """Set the mode of each private file to 0600 if group or others have any access to it.

    Files that do not exist are skipped. The content may already have been read, so each change is
    reported to users.

    Returns:
        One line for users per changed file.

    Raises:
        FleetmarkError: CONFIGURATION: a mode cannot be set.
    """
    return [
        f"{path}: other users had access to this private file (mode {mode:04o}); its mode"
        " was set to 0600. Replace the key if they may have read it"
        for path in paths
        if (mode := _narrow(path, _OTHERS, 0o600)) is not None
    ]


def protect_folders(paths: Iterable[Path]) -> list[str]:
    """Remove write access of group and others from folders that contain private files.

    Users who may write in a folder can replace a key in it. Folders that do not exist are skipped.

    Returns:
        One line for users per changed folder.

    Raises:
        FleetmarkError: CONFIGURATION: a mode cannot be set.
    """
    return [
        f"{path}: other users could write to this folder (mode {mode:04o}); its mode was set to"
        f" {mode & ~_WRITE_BY_OTHERS:04o}. Check that it contains only your files"
        for path in paths
        if (mode := _narrow(path, _WRITE_BY_OTHERS, None)) is not None
    ]


def exposed_file_error(path: Path, mode: int, wanted: int, why: str) -> FleetmarkError:
    """Return the error for a file or folder whose mode is too wide and cannot be changed."""
    return FleetmarkError(
        ErrorKind.CONFIGURATION,
        f"other users have access (mode {mode:04o}), and its mode cannot be changed: {why}",
        str(path),
        f"Set its mode to {wanted:04o}, or move it to a file system that supports modes",
    )


def _narrow(path: Path, unwanted: int, wanted: int | None) -> int | None:
    """Clear the `unwanted` mode bits; return the former mode, or None if nothing was changed."""
    try:
        found = path.stat()
    except OSError:
        return None  # the code that reads the path reports the error
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
