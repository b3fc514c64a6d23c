"""The home folder of a controller, locked by one process at a time."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from fleetmark_controller.home.credential_files import CA, FOLDER, admin_file
from fleetmark_controller.home.endpoint import ENDPOINT
from fleetmark_controller.store.db.connection import STORE_NAME
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.disk_space import disk_full_error, has_room, is_disk_full
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.private_files import protect_files, protect_folders
from fleetmark_core.regular_file import check_regular, is_damage, read_regular

_DELETABLE = "blobs/partial/ may be deleted"


def unwritable_home_error(folder: Path, error: OSError) -> FleetmarkError:
    """Return the error for a home in which a file could not be read or written."""
    if is_disk_full(error):
        return disk_full_error(folder, suggestion=_DELETABLE)
    place = str(error.filename or folder)
    if is_damage(error):
        return FleetmarkError(
            ErrorKind.CONFIGURATION,
            f"the home is damaged: {error.strerror}",
            place,
            "Remove it, and restore the file from a backup",
        )
    return FleetmarkError(
        ErrorKind.CONFIGURATION,
        f"the home cannot be used: {error.strerror}",
        place,
        "Give a folder that this user can write as --home, or change its permissions",
    )


class Home:
    """The folder with everything that a controller keeps; locked while it is open."""

    def __init__(self, folder: Path) -> None:
        """Create the folder if it does not exist, and lock it.

        Raises:
            FleetmarkError: HOME_IN_USE, DISK_FULL, or CONFIGURATION when it cannot be written for
                another reason.
        """
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _open_lock(folder / "controller.lock")
        except OSError as error:
            raise unwritable_home_error(folder, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.seek(0)
            owner = self._lock.read().strip() or "unknown"
            raise FleetmarkError(
                ErrorKind.HOME_IN_USE,
                f"another controller (process {owner}) is using this home",
                str(folder),
                "Stop that controller, or give another --home",
            ) from error
        try:
            self._lock.truncate(0)
            self._lock.write(str(os.getpid()))
            self._lock.flush()
            # A full disk is reported now, not in the middle of a migration.
            is_writable = has_room(folder)
        except OSError as error:
            raise unwritable_home_error(folder, error) from error
        if not is_writable:
            raise disk_full_error(folder, suggestion=_DELETABLE)

    def protect(self) -> list[str]:
        """Remove other users' access to keys and to the home; return a message for each change.

        Raises:
            FleetmarkError: CONFIGURATION: a mode cannot be changed.
        """
        identity = self.folder / FOLDER
        keys = sorted(identity.iterdir()) if identity.is_dir() else []
        return [*protect_folders((self.folder, identity)), *protect_files(keys)]

    def check_store(self) -> None:
        """Refuse a home without its store: an empty store would hide the fleet and all results.

        A first start creates the store before the CA, so a first start that is killed never leaves
        only a CA.

        Raises:
            FleetmarkError: STORE_UNUSABLE.
        """
        for suffix in ("", "-wal", "-shm"):
            path = self.store.with_name(self.store.name + suffix)
            if path.exists() and not path.is_file():
                raise FleetmarkError(
                    ErrorKind.STORE_UNUSABLE,
                    "this part of the store is not a regular file",
                    str(path),
                    "Restore the store from a backup, or start with an empty folder as --home",
                )
        has_store = self.store.exists() and self.store.stat().st_size > 0
        if (self.folder / FOLDER / CA).exists() and not has_store:
            what = "is empty" if self.store.exists() else "is missing"
            raise FleetmarkError(
                ErrorKind.STORE_UNUSABLE,
                f"the store {what}, although a controller has run in this home",
                str(self.store),
                "Restore it from a backup, or start with an empty folder as --home",
            )

    def check_authority(self, stored_generation: int) -> None:
        """Refuse a home without its CA: a new CA would lock out every device of the store.

        Args:
            stored_generation: the generation in the store; 0 if no controller has started on it.

        Raises:
            FleetmarkError: CONFIGURATION.
        """
        path = self.folder / FOLDER / CA
        if not path.exists() and max(stored_generation, self.read_generation()) > 0:
            raise FleetmarkError(
                ErrorKind.CONFIGURATION,
                "the controller's CA is missing; the enrolled devices trust only this CA",
                str(path),
                f"Restore {FOLDER}/ from a backup, or start with an empty folder as --home",
            )

    def check_generation(self, stored_generation: int) -> str:
        """Refuse a store that has lost everything that was written to it since it was created.

        SQLite keeps recent changes in a log beside the store. Without the log, an older store is
        left, which looks intact. A first start writes its credentials after its generation is in
        the store.

        Args:
            stored_generation: the generation in the store; 0 if no controller has started on it.

        Returns:
            A warning if the store is older than the home, or an empty string.

        Raises:
            FleetmarkError: STORE_UNUSABLE.
        """
        known = self.read_generation()
        if stored_generation >= known:
            return ""
        if not stored_generation:
            if not admin_file(self.folder).exists():
                return ""
            raise FleetmarkError(
                ErrorKind.STORE_UNUSABLE,
                "the store's write-ahead log is missing or damaged, and without it the store is"
                " empty, although a controller has run in this home",
                f"{self.store}-wal",
                "Restore both from a backup, or start with an empty folder as --home",
            )
        return (
            f"{self.store}: the store is older than its home (generation {stored_generation},"
            f" expected {known}): it was restored from a backup, or its write-ahead log"
            f" {self.store.name}-wal was lost"
        )

    @property
    def store(self) -> Path:
        """The path of the results store."""
        return self.folder / STORE_NAME

    @property
    def blobs(self) -> Path:
        """The folder of blobs."""
        return self.folder / "blobs"

    def read_generation(self) -> int:
        """Return the last generation that a controller started on this home; 0 if there is none."""
        try:
            return int(read_regular(self.folder / "generation", 100).decode("ascii"))
        except (FileNotFoundError, ValueError):
            return 0

    def write_generation(self, generation: int) -> None:
        """Write a generation durably, beside the store and excluded from its backups.

        Raises:
            FleetmarkError: DISK_FULL, or CONFIGURATION: it cannot be written.
        """
        try:
            write_atomic(self.folder / "generation", str(generation).encode("ascii"))
        except OSError as error:
            raise unwritable_home_error(self.folder, error) from error

    def close(self) -> None:
        """Release the home."""
        # If the file cannot be removed, the next start reports that when it writes the file.
        with suppress(OSError):
            (self.folder / ENDPOINT).unlink(missing_ok=True)
        self._lock.close()


def _open_lock(path: Path) -> TextIO:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        check_regular(descriptor, path)
        return os.fdopen(descriptor, "a+", encoding="utf-8", errors="replace")
    except BaseException:
        os.close(descriptor)
        raise
