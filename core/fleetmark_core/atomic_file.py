"""Files that appear whole or not at all: written beside their place, synchronised, renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_atomic(path: Path, data: bytes, *, durable: bool = True, private: bool = False) -> None:
    """Replace `path` by a file with `data`, whole or not at all.

    Args:
        path: the file; its folder is made if it is absent.
        data: the whole content.
        durable: the content survives a power failure once this returns.
        private: the file's owner alone may read it, from its first moment on; so is a folder that
            is made for it.

    Raises:
        OSError: there is no room or no permission; then the old content is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
    with (
        replacement(path, durable=durable) as scratch,
        os.fdopen(os.open(scratch, _NEW_FILE, 0o600 if private else 0o666), "wb") as file,
    ):
        file.write(data)


@contextmanager
def replacement(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it replaces `path` at the end.

    A process has one writer of a path at a time: what a killed one left is overwritten. If anything
    fails, it is deleted, and what was at `path` stays.

    Raises:
        OSError: the file was not written, or cannot be synchronised or renamed; it names `path`.
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
            # Users know the file, not the scratch file beside it.
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
    """Make a folder's entries durable: after a rename in it, for example."""
    # A folder is opened and synchronised just as a file is.
    sync_file(path)
