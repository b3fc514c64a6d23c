"""Creation of a home from a scratch folder, also in an existing folder such as a mount point."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fleetmark_controller.home.credential_files import FOLDER
from fleetmark_controller.store.db.connection import STORE_NAME
from fleetmark_core.atomic_file import sync_folder
from fleetmark_core.blob_store import remove_path
from fleetmark_core.errors import ErrorKind, FleetmarkError

_SCRATCH = ".restoring"
_FILE_SYSTEM = "lost+found"
"""A folder that a new ext file system has in its root."""
_RESTORED = frozenset(
    {
        *(STORE_NAME, FOLDER, "blobs", "builds", "catalog", "catalogs"),
        *("config.toml", "catalogs.json", "catalog-trust.json", "release.json"),
        "file-confirmations.json",
    }
)
"""Entries that an interrupted restoration may have left in an existing folder."""


@contextmanager
def new_home(home: Path) -> Iterator[Path]:
    """Yield a scratch folder, and make its content the home when the body succeeds.

    A home that does not exist is made by one rename. An existing folder, which may be a mount
    point, keeps its place: the scratch folder is inside it, and its entries are moved one by one,
    the keys first and the store last. A controller refuses a home with keys and without a store.
    The next call removes what an interrupted one left. If the body fails, `home` is unchanged.

    Args:
        home: the new home. It does not exist, or is an empty folder.

    Raises:
        FleetmarkError: USAGE: `home` is not a folder, or has files.
        OSError: `home` cannot be written.
    """
    if home.name in ("", ".."):
        home = home.resolve()  # it has no name to derive another from
    exists = _check_unused(home)
    scratch = home / _SCRATCH if exists else home.with_name(f"{home.name}{_SCRATCH}")
    moved: list[Path] = []
    try:
        if exists:
            _remove_unfinished(home)
        else:
            remove_path(scratch)  # left by an interrupted restoration
        scratch.mkdir(parents=True, mode=0o700)
        yield scratch
        if exists:
            _move_entries(scratch, home, moved)
        else:
            scratch.replace(home)
            sync_folder(home.parent)
    except BaseException:
        for path in (*moved, scratch):
            with suppress(OSError):
                remove_path(path)
        raise


def _check_unused(home: Path) -> bool:
    """Return whether the folder exists; raise an error unless it can become a home."""
    if home.is_symlink() or (home.exists() and not home.is_dir()):
        raise FleetmarkError(
            ErrorKind.USAGE, "not a folder", str(home), "Name a folder that does not exist"
        )
    if not home.exists():
        return False
    names = {path.name for path in home.iterdir()} - {_FILE_SYSTEM}
    if names and not _is_unfinished(home, names):
        raise FleetmarkError(
            ErrorKind.USAGE,
            "this home has files already; nothing was restored",
            str(home),
            "Move it away, or name another --home",
        )
    return True


def _is_unfinished(home: Path, names: set[str]) -> bool:
    """Return whether a folder with these entries is that of an interrupted restoration."""
    if names == {_SCRATCH}:
        return True
    # Entries are moved once the store is complete, and the store is moved last.
    has_store = (home / _SCRATCH / STORE_NAME).is_file()
    return has_store and STORE_NAME not in names and names <= _RESTORED | {_SCRATCH}


def _remove_unfinished(home: Path) -> None:
    # The scratch folder marks the others as incomplete, so it is removed last.
    for name in [*sorted(_RESTORED), _SCRATCH]:
        remove_path(home / name)


def _move_entries(scratch: Path, home: Path, moved: list[Path]) -> None:
    """Move all entries of `scratch` to `home`, and append each new path to `moved`."""
    order = {FOLDER: 0, STORE_NAME: 2}
    for path in sorted(scratch.iterdir(), key=lambda path: order.get(path.name, 1)):
        target = home / path.name
        if os.path.lexists(target):
            raise FileExistsError(
                errno.EEXIST, "another process created this meanwhile", str(target)
            )
        if path.name == STORE_NAME:
            sync_folder(home)
        path.rename(target)
        moved.append(target)
    sync_folder(home)
    with suppress(OSError):
        shutil.rmtree(scratch)  # empty
    with suppress(OSError):
        home.chmod(0o700)
