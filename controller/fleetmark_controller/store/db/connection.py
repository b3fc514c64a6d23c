"""Connections to the store: pragmas, migrations, and errors that tell an operator what to do."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from fleetmark_core.disk_space import disk_full_error, has_room
from fleetmark_core.errors import ErrorKind, FleetmarkError

STORE_NAME = "results.db"
_BUSY_TIMEOUT_MS = 10_000


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a connection with the controller's pragmas. Transactions must be begun explicitly.

    Raises:
        FleetmarkError: STORE_UNUSABLE.
    """
    try:
        mode = "ro" if read_only else "rwc"
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        raise _unusable_error(path, error) from error
    return connection


def migrate(path: Path) -> None:
    """Migrate the store at `path` to this version's schema; create it if it does not exist.

    Each migration is one transaction: an interrupted migration leaves no trace.

    Raises:
        FleetmarkError: STORE_UNUSABLE: not a database, damaged, or written by a newer version.
    """
    from sqlite_utils import Database

    from fleetmark_controller.store.db.migrations import MIGRATIONS

    check_version(path)
    connection = connect(path)
    try:
        MIGRATIONS.apply(Database(connection))
    except sqlite3.Error as error:
        raise _unusable_error(path, error) from error
    finally:
        connection.close()


def is_current(path: Path) -> bool:
    """Return whether the store at `path` needs no migration. Reads only.

    Raises:
        FleetmarkError: STORE_UNUSABLE: not a database, or damaged.
    """
    from sqlite_utils import Database

    from fleetmark_controller.store.db.migrations import MIGRATIONS

    connection = connect(path, read_only=True)
    try:
        return not MIGRATIONS.pending(Database(connection))
    except sqlite3.Error as error:
        raise _unusable_error(path, error) from error
    finally:
        connection.close()


def check_version(path: Path) -> None:
    """Raise an error if a newer version of the controller wrote the store.

    Raises:
        FleetmarkError: STORE_UNUSABLE: written by a newer version, not a database, or damaged.
    """
    from sqlite_utils import Database

    from fleetmark_controller.store.db.migrations import MIGRATIONS

    connection = connect(path)
    try:
        known = {migration.name for migration in MIGRATIONS._migrations}
        applied = MIGRATIONS.applied(Database(connection))
    except sqlite3.Error as error:
        raise _unusable_error(path, error) from error
    finally:
        connection.close()
    newer = [done.name for done in applied if done.name not in known]
    if newer:
        raise FleetmarkError(
            ErrorKind.STORE_UNUSABLE,
            f"the store was written by a newer version (it has migration {newer[-1]})",
            str(path),
            "Run that version of the controller",
        )


def check_integrity(path: Path) -> None:
    """Raise an error if pages of the store are damaged.

    Raises:
        FleetmarkError: STORE_UNUSABLE, with SQLite's first complaint.
    """
    connection = connect(path, read_only=True)
    try:
        answer = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise _unusable_error(path, error) from error
    finally:
        connection.close()
    if answer != "ok":
        raise _unusable_error(path, answer)


def _unusable_error(path: Path, reason: object) -> FleetmarkError:
    text = " ".join(str(reason).split())  # SQLite's messages can have several lines
    if _is_full_disk(path.parent, text):
        return disk_full_error(path.parent, "the store cannot be opened")
    advice = "Restore it from a backup, or give another --home"
    if "unable to open" in text:
        advice = "Check the folder's permissions, or give another --home"
    return FleetmarkError(
        ErrorKind.STORE_UNUSABLE, f"the store cannot be used: {text}", str(path), advice
    )


def _is_full_disk(folder: Path, text: str) -> bool:
    """Return whether SQLite failed because the disk is full; its message does not always say so."""
    if "disk is full" in text:
        return True
    # SQLite reports an I/O error or "unable to open" if it cannot create its shared memory or its
    # write-ahead log.
    if "disk I/O error" not in text and "unable to open" not in text:
        return False
    try:
        return not has_room(folder)
    except OSError:
        return False
