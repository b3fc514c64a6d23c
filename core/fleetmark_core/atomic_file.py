"""Atomic file replacement: write a scratch file beside the target, synchronize it, rename it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_atomic(path: Path, data: bytes, *, durable: bool = True, private: bool = False) -> None:
    """Replace `path` atomically with a file that contains `data`.

    Args:
        path: the file. Its parent folder is created if it does not exist.
        data: the complete content.
        durable: synchronize the file and its folder, so that the content survives a power failure
            once this function has returned.
        private: create the file with mode 0600, so that only its owner can ever read it. If the
            parent folder is created, it gets mode 0700.

    Raises:
        OSError: no space or no permission. The old content is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
    with (
        replacement(path, durable=durable) as scratch,
        os.fdopen(os.open(scratch, _NEW_FILE, 0o600 if private else 0o666), "wb") as file,
    ):
        file.write(data)


@contextmanager
def replacement(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a scratch path beside `path`, and rename it to `path` when the body succeeds.

    A process must have one writer per path at a time: a scratch file that a killed writer left is
    overwritten. If the body or the rename fails, the scratch file is deleted and `path` is
    unchanged.

    Raises:
        OSError: the file was not written, or cannot be synchronized or renamed. The error names
            `path`.
    """
    scratch = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    try:
        scratch.unlink(missing_ok=True)
        yield scratch
        if durable:
            sync_file(scratch)
        scratch.replace(path)
    except BaseException as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in (None, str(scratch), scratch):
            # Users know the target file, not the scratch file.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    if durable:
        sync_folder(path.parent)


def sync_file(path: Path) -> None:
    """Make a file's content durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Make a folder's entries durable, for example after a rename in it."""
    # Folders are opened and synchronized like files.
    sync_file(path)
