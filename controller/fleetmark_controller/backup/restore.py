"""Restoration of a backup as a new home: completely and verified, or not at all."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.backup.file_copy import copy_blob, copy_verified
from fleetmark_controller.backup.manifest import BackupManifest, read_manifest
from fleetmark_controller.backup.new_home import new_home
from fleetmark_controller.home.credential_files import CA, FOLDER
from fleetmark_controller.store.db.backup import wanted_blobs
from fleetmark_controller.store.db.connection import STORE_NAME, check_integrity, check_version
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.disk_space import disk_full_error, is_disk_full
from fleetmark_core.errors import ErrorKind, FleetmarkError

_NEEDED = (STORE_NAME, f"{FOLDER}/{CA}")


@dataclass(frozen=True)
class Restored:
    """A restored home."""

    manifest: BackupManifest
    blobs: int
    damaged_blobs: tuple[str, ...]
    """Digests of blobs that were left out because they are damaged or cannot be read."""
    lost_blobs: int
    """Number of blobs that the backup had and that are missing now."""
    needed_blobs: tuple[str, ...]
    """Digests that results or unfinished jobs need, but that this home lacks."""


def restore_backup(source: Path, home: Path) -> Restored:
    """Create a controller's home from a backup.

    Each file must match the manifest. A damaged or missing blob is left out, because the rest of
    the backup is still useful.

    Args:
        source: the backup.
        home: the new home: no folder, or an empty one, which may be a mount point. It is created
            completely, or not changed; if this process is killed, see `new_home`.

    Raises:
        FleetmarkError: NOT_FOUND: `source` is not a backup; BAD_DOCUMENT, BAD_ARCHIVE,
            STORE_UNUSABLE: it is damaged, incomplete or of a newer version; USAGE: `home` has
            files; DISK_FULL, CONFIGURATION: `home` cannot be written.
    """
    manifest = read_manifest(source)
    for name in _NEEDED:
        if name not in manifest.files:
            raise FleetmarkError(
                ErrorKind.BAD_ARCHIVE,
                f"the backup is incomplete: it has no {name}",
                str(source),
                "Restore another backup",
            )
    try:
        with new_home(home) as scratch:
            return _fill(source, manifest, scratch)
    except OSError as error:
        if is_disk_full(error):
            raise disk_full_error(home, "nothing was restored") from error
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            f"nothing was restored: {error.strerror or error}",
            str(error.filename or home),
        ) from error
    except sqlite3.Error as error:
        if "disk is full" in str(error):
            raise disk_full_error(home, "nothing was restored") from error
        raise FleetmarkError(
            ErrorKind.CONFIGURATION, f"nothing was restored: {error}", str(home)
        ) from error


def _fill(source: Path, manifest: BackupManifest, home: Path) -> Restored:
    for name, entry in manifest.files.items():
        copy_verified(source / name, home / name, entry)
    store = home / STORE_NAME
    try:
        check_version(store)
        check_integrity(store)
    except FleetmarkError as error:
        advice = "Restore another backup, or use the version of the controller that made this one"
        raise FleetmarkError(error.kind, error.what, str(source / STORE_NAME), advice) from error
    wanted = wanted_blobs(store)
    for suffix in ("-wal", "-shm"):
        store.with_name(store.name + suffix).unlink(missing_ok=True)
    blobs, copies = BlobFolder(source / "blobs"), BlobFolder(home / "blobs")
    damaged, count = [], 0
    for sha256 in blobs:
        try:
            size_bytes = copy_blob(blobs, copies, sha256)
        except ValueError:
            continue  # not a blob
        if size_bytes is None:
            damaged.append(sha256)
        else:
            count += 1
    return Restored(
        manifest,
        count,
        tuple(damaged),
        max(0, manifest.blob_count - count - len(damaged)),
        tuple(sha256 for sha256 in wanted if not copies.has(sha256)),
    )
