"""Copying of a home's files, with verification of each copy."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from fleetmark_controller.backup.manifest import FileEntry
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import has_path, read_chunks

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def copy_file(source: Path, target: Path) -> FileEntry:
    """Copy a regular file, durably, to `target`, which only its owner may read.

    Raises:
        OSError: `source` cannot be read or is not a regular file (the error names it), or
            `target` exists or cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha256()
    size_bytes = 0
    with os.fdopen(os.open(target, _NEW_FILE, 0o600), "wb") as copy:
        for part in read_chunks(source):
            digest.update(part)
            size_bytes += copy.write(part)
        copy.flush()
        os.fsync(copy.fileno())
    return FileEntry(size_bytes, digest.hexdigest())


def copy_blob(blobs: BlobFolder, copies: BlobFolder, sha256: str) -> int | None:
    """Copy a blob, and verify its digest.

    Args:
        blobs: the folder with the blob.
        copies: the folder for the copy.
        sha256: the digest. It may be another name that `blobs` yields.

    Returns:
        The size of the blob in bytes, or None if it cannot be read or its bytes are damaged.

    Raises:
        ValueError: `sha256` is not a digest.
        FileNotFoundError: the blob was deleted.
        OSError: `copies` cannot be written.
    """
    path = blobs.path(sha256)
    try:
        size_bytes = blobs.size(sha256)
        copies.put_file(path, sha256, size_bytes)
    except FleetmarkError:
        return None
    except OSError as error:
        if isinstance(error, FileNotFoundError) or not has_path(error, path):
            raise
        return None
    return size_bytes


def copy_verified(source: Path, target: Path, expected: FileEntry) -> None:
    """Copy a file of a backup and verify it against the manifest.

    Raises:
        FleetmarkError: BAD_ARCHIVE: the file is missing, or differs from the manifest.
        OSError: see `copy_file`.
    """
    try:
        found = copy_file(source, target)
    except FileNotFoundError as error:
        if not has_path(error, source):
            raise
        raise FleetmarkError(
            ErrorKind.BAD_ARCHIVE,
            "the backup is incomplete: this file is missing",
            str(source),
            "Restore another backup",
        ) from error
    if found != expected:
        raise FleetmarkError(
            ErrorKind.BAD_ARCHIVE,
            f"the backup is damaged: sha256 is {found.sha256} ({found.size_bytes} bytes),"
            f" expected {expected.sha256} ({expected.size_bytes} bytes)",
            str(source),
            "Restore another backup",
        )
