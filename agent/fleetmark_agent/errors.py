"""Errors of the agent, and their translation into a message and an exit code for its operator."""

from __future__ import annotations

import errno
from pathlib import Path

from fleetmark_cli.exit_codes import EXIT_REFUSED, EXIT_USAGE, Problem
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.failure_cause import FailureCause


class Refusal(Exception):
    """Raised when this device cannot prepare an attempt.

    Attributes:
        reason: why, for the operator.
        retryable: whether another attempt on this device may succeed.
        cause: what is at fault; only faults of the device can quarantine it.
    """

    def __init__(
        self, reason: str, *, retryable: bool, cause: FailureCause = FailureCause.DEVICE
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable
        self.cause = cause


def to_problem(error: Exception) -> Problem | None:
    """Return the problem to print for an error caused by the user or the device.

    Returns:
        The message and exit code, or None if the error is a bug of the agent.
    """
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
    """Return the error for a file or folder that cannot be used.

    Args:
        error: the operating system's error; the file that it names is shown.
        where: the file or folder to show if `error` names none.
    """
    from fleetmark_core.disk_space import disk_full_error, is_disk_full
    from fleetmark_core.regular_file import is_damage

    place = str(error.filename or where)
    if is_disk_full(error):
        path = Path(where or place)
        folder = path if path.is_dir() else path.parent
        return disk_full_error(folder, suggestion="cache/ may be deleted")
    text = error.strerror or str(error)
    if is_damage(error):
        advice = "Remove it, and restore the file from a backup if there is one"
        return FleetmarkError(ErrorKind.STORE_UNUSABLE, text, place, advice)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        advice = "Choose a folder that you may write with --home"
        return FleetmarkError(ErrorKind.STORE_UNUSABLE, text, place, advice)
    advice = "Check the disk, or choose another --home"
    return FleetmarkError(ErrorKind.STORE_UNUSABLE, text, place, advice)
