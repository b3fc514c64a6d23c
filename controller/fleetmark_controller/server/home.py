"""The controller's home: one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from fleetmark_controller.home.credential_files import CA, FOLDER
from fleetmark_controller.home.endpoint import ENDPOINT
from fleetmark_controller.store.db.connection import STORE_NAME
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.errors import ErrorKind, FleetmarkError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def unwritable_home_error(folder: Path, error: OSError) -> FleetmarkError:
    """Return the error for a home in which a file could not be read or written."""
    if error.errno in _FULL:
        return FleetmarkError(
            ErrorKind.DISK_FULL,
            f"the home cannot be written: {error.strerror}",
            str(folder),
            "Free space, or name another --home",
        )
    return FleetmarkError(
        ErrorKind.CONFIGURATION,
        f"the home cannot be used: {error.strerror}",
        str(error.filename or folder),
        "Name a folder that this user may write as --home, or change its permissions",
    )


class Home:
    """The folder with everything that a controller keeps; locked while it is open."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if need be, and lock it.

        Raises:
            FleetmarkError: HOME_IN_USE, DISK_FULL, or CONFIGURATION when it cannot be written for
                another reason.
        """
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (folder / "controller.lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise unwritable_home_error(folder, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            raise FleetmarkError(
                ErrorKind.HOME_IN_USE,
                f"another controller (process {owner}) runs on this home",
                str(folder),
                "Stop it, or name another --home",
            ) from error
        try:
            self._lock.truncate(0)
            self._lock.write(str(os.getpid()))
            self._lock.flush()
        except OSError as error:
            raise unwritable_home_error(folder, error) from error

    def check_store(self) -> None:
        """Refuse a home without its store: an empty store would hide the fleet and all results.

        A first start makes the store before the CA. A killed first start never leaves only a CA.

        Raises:
            FleetmarkError: STORE_UNUSABLE.
        """
        has_store = self.store.exists() and self.store.stat().st_size > 0
        if (self.folder / FOLDER / CA).exists() and not has_store:
            what = "is empty" if self.store.exists() else "is missing"
            raise FleetmarkError(
                ErrorKind.STORE_UNUSABLE,
                f"the store {what}, though a controller has run here",
                str(self.store),
                "Restore it from a backup, or start with an empty folder as --home",
            )

    def check_authority(self, stored_generation: int) -> None:
        """Refuse a home without its CA: a new CA would lock out every device of the store.

        `stored_generation` is the store's; 0 if no controller has begun on it.

        Raises:
            FleetmarkError: CONFIGURATION.
        """
        path = self.folder / FOLDER / CA
        if not path.exists() and max(stored_generation, self.read_generation()) > 0:
            raise FleetmarkError(
                ErrorKind.CONFIGURATION,
                "the controller's CA is missing; the devices in the store trust no other",
                str(path),
                f"Restore {FOLDER}/ from a backup, or start with an empty folder as --home",
            )

    @property
    def store(self) -> Path:
        """The results store."""
        return self.folder / STORE_NAME

    @property
    def blobs(self) -> Path:
        """The folder of blobs."""
        return self.folder / "blobs"

    def read_generation(self) -> int:
        """The last generation that a controller on this home began; 0 if none did."""
        try:
            return int((self.folder / "generation").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return 0

    def write_generation(self, generation: int) -> None:
        """Remember a generation, durably, beside the store and in no backup of it.

        Raises:
            FleetmarkError: DISK_FULL, or CONFIGURATION: it cannot be written.
        """
        try:
            write_atomic(self.folder / "generation", str(generation).encode("ascii"))
        except OSError as error:
            raise unwritable_home_error(self.folder, error) from error

    def close(self) -> None:
        """Give the home free."""
        (self.folder / ENDPOINT).unlink(missing_ok=True)
        self._lock.close()
