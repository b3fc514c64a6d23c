"""What can go wrong on a board, and what each of it means to a person at its terminal."""

from __future__ import annotations

import errno

from fleetmark_cli.exit_codes import EXIT_REFUSED, EXIT_USAGE, Problem
from fleetmark_core.errors import ErrorKind, FleetmarkError


class Refusal(Exception):
    """An attempt cannot be prepared here. `retryable`: another try on this device may do better."""

    def __init__(self, reason: str, *, retryable: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable


def translate(error: Exception) -> Problem | None:
    """One line and exit code for what a user or a board caused; None for faults of ours."""
    if isinstance(error, FleetmarkError):
        return Problem(str(error), error.kind.exit_code)
    kind = type(error).__name__
    if kind in ("ConfigError", "BadSetting"):
        return Problem(str(error), EXIT_USAGE)
    if kind == "LedgerError":
        advice = "Move the home away to begin anew; results in it that were not sent stay there"
        return Problem(f"{error}. {advice}", EXIT_REFUSED)
    if isinstance(error, OSError):
        return Problem(str(from_os_error(error)), EXIT_REFUSED)
    return None


def from_os_error(error: OSError, where: str = "") -> FleetmarkError:
    """The error in a person's words."""
    place = where or str(error.filename or "")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FleetmarkError(
            ErrorKind.DISK_FULL, "no space left", place, "Free space or choose another --home"
        )
    text = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        advice = "Choose a folder that you may write with --home"
        return FleetmarkError(ErrorKind.STORE_UNUSABLE, text, place, advice)
    return FleetmarkError(ErrorKind.STORE_UNUSABLE, text, place)
