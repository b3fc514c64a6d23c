"""Durable file access for session state.

Everything that must survive a crash goes through `Files`, so that a simulator can replace the disk
and keep only the data that was made durable.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from fleetmark_core.atomic_file import sync_folder, write_atomic
from fleetmark_core.regular_file import read_regular

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
_MOST_BYTES = 4 * 1024**3


class Files(Protocol):
    """Interface to the files below one folder, named by relative paths with `/`.

    All methods may raise OSError.
    """

    def read(self, name: str) -> bytes | None:
        """Return the whole content, or None if the file does not exist."""

    def write_atomic(self, name: str, data: bytes) -> None:
        """Replace the content atomically: after a crash it is either the old or the new content."""

    def append_sync(self, name: str, data: bytes) -> None:
        """Append and sync. After an error none, some or all of `data` may have been appended."""

    def append_lazy(self, name: str, data: bytes) -> None:
        """Append without syncing; a crash may lose all of `data` or its end."""

    def truncate(self, name: str, size_bytes: int) -> None:
        """Truncate the file to `size_bytes` and sync it."""

    def remove(self, name: str) -> None:
        """Remove the file durably; do nothing if it does not exist."""

    def list(self, folder: str) -> list[str]:
        """Return the sorted entry names of `folder`, without the folder; empty if it is absent."""

    def size(self, name: str) -> int:
        """Return the size of the file in bytes; 0 if it is absent."""

    def free_bytes(self) -> int:
        """Return how many bytes this process may still write to the file system."""


class RealFiles:
    """`Files` on a real file system, below `root`."""

    def __init__(self, root: Path) -> None:
        """Set the root; its folders are created when a file is first written to them."""
        self.root = root

    def read(self, name: str) -> bytes | None:
        """See `Files`."""
        try:
            return read_regular(self.root / name, _MOST_BYTES)
        except FileNotFoundError:
            return None

    def write_atomic(self, name: str, data: bytes) -> None:
        """See `Files`."""
        write_atomic(self.root / name, data)

    def append_sync(self, name: str, data: bytes) -> None:
        """See `Files`."""
        self._append(name, data, sync=True)

    def append_lazy(self, name: str, data: bytes) -> None:
        """See `Files`."""
        self._append(name, data, sync=False)

    def truncate(self, name: str, size_bytes: int) -> None:
        """See `Files`."""
        with (self.root / name).open("rb+") as file:
            file.truncate(size_bytes)
            os.fsync(file.fileno())

    def remove(self, name: str) -> None:
        """See `Files`."""
        path = self.root / name
        try:
            path.unlink()
        except FileNotFoundError:
            return
        sync_folder(path.parent)

    def list(self, folder: str) -> list[str]:
        """See `Files`."""
        try:
            return sorted(entry.name for entry in (self.root / folder).iterdir())
        except FileNotFoundError:
            return []

    def size(self, name: str) -> int:
        """See `Files`."""
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            return 0

    def free_bytes(self) -> int:
        """See `Files`."""
        return free_bytes(self.root)

    def _append(self, name: str, data: bytes, *, sync: bool) -> None:
        path = self.root / name
        new = not path.exists()
        if new:
            path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, _APPEND, 0o600)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new and sync:
            sync_folder(path.parent)


def free_bytes(path: Path) -> int:
    """Return the free bytes of the file system of `path`, which need not exist yet."""
    while not path.exists():
        path = path.parent
    import shutil

    return shutil.disk_usage(path).free


def tree_bytes(folder: Path) -> int:
    """Return the bytes of all files below `folder`, links not followed; 0 if it is absent."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118
            except FileNotFoundError:
                continue
    return total
