"""The controller's home: one process at a time."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from fleetmark_controller.home.endpoint import ENDPOINT
from fleetmark_controller.store.db.connection import STORE_NAME
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.errors import ErrorKind, FleetmarkError


class Home:
    """The folder with everything that a controller keeps; locked while it is open."""

    def __init__(self, folder: Path) -> None:
        """Make the folder if need be, and lock it.

        Raises:
            FleetmarkError: HOME_IN_USE, or DISK_FULL when it cannot be written.
        """
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = (folder / "controller.lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise FleetmarkError(
                ErrorKind.DISK_FULL,
                f"the home cannot be written: {error.strerror}",
                str(folder),
                "Free space or name another --home",
            ) from error
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
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

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
        """Remember a generation, durably, beside the store and in no backup of it."""
        write_atomic(self.folder / "generation", str(generation).encode("ascii"))

    def close(self) -> None:
        """Give the home free."""
        (self.folder / ENDPOINT).unlink(missing_ok=True)
        self._lock.close()
