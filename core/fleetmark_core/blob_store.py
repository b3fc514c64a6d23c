"""A folder of content-addressed blobs in which every blob is complete and verified.

Bytes arrive in a partial file, which can be resumed. `commit` checks size and SHA-256 and makes the
bytes durable (fsync, rename, fsync of the folder). Only then is the blob visible.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fleetmark_core.atomic_file import sync_file, sync_folder
from fleetmark_core.digest import blob_path, is_sha256, sha256_file, sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_chunks


class BlobFolder:
    """Content-addressed blobs at `root`/sha256/ab/<hex>; partial files are in `root`/partial."""

    def __init__(self, root: Path) -> None:
        """Store `root`; folders are created when they are first needed."""
        self.root = root

    def path(self, sha256: str) -> Path:
        """Return the path of a blob, whether or not the blob exists."""
        return blob_path(self.root, sha256)

    def has(self, sha256: str) -> bool:
        """Return whether the complete blob exists."""
        return is_sha256(sha256) and self.path(sha256).is_file()

    def size(self, sha256: str) -> int:
        """Return the size in bytes of an existing blob."""
        return self.path(sha256).stat().st_size

    def partial(self, sha256: str) -> Path:
        """Return the file that collects the blob's bytes, and create its folder.

        Raises:
            ValueError: `sha256` is not a SHA-256 digest.
        """
        if not is_sha256(sha256):
            raise ValueError(f"{sha256[:80]!r} is not a SHA-256 digest")
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / sha256
        if path.exists() and not path.is_file():
            remove_path(path)  # not a file, so it cannot be resumed
        return path

    def commit(self, partial: Path, sha256: str, size_bytes: int) -> Path:
        """Verify the collected bytes and publish them as a blob; delete them on a mismatch.

        Raises:
            FleetmarkError: DIGEST_MISMATCH.
        """
        found_size = partial.stat().st_size
        found = sha256_file(partial)
        if found != sha256 or found_size != size_bytes:
            partial.unlink()
            raise FleetmarkError(
                ErrorKind.DIGEST_MISMATCH,
                f"sha256 is {found} ({found_size} bytes), expected {sha256} ({size_bytes} bytes)",
                partial.name,
            )
        target = self.path(sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        sync_file(partial)
        if target.is_dir():
            remove_path(target)  # damage: a blob must be a file
        partial.replace(target)
        sync_folder(target.parent)
        return target

    def put_bytes(self, data: bytes) -> str:
        """Store `data` and return its digest."""
        sha256 = sha256_hex(data)
        if not self.has(sha256):
            partial = self._own_partial(sha256)
            partial.write_bytes(data)
            self.commit(partial, sha256, len(data))
        return sha256

    def put_file(self, source: Path, sha256: str, size_bytes: int) -> None:
        """Store a copy of `source` if it has this digest and size.

        Raises:
            FleetmarkError: DIGEST_MISMATCH.
            OSError: `source` cannot be read (the error names it), or the folder cannot be written.
        """
        if self.has(sha256):
            return
        partial = self._own_partial(sha256)
        try:
            with partial.open("wb") as copy:
                for chunk in read_chunks(source):
                    copy.write(chunk)
            self.commit(partial, sha256, size_bytes)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise

    def remove(self, sha256: str) -> None:
        """Remove a blob if it exists."""
        remove_path(self.path(sha256))

    def __iter__(self) -> Iterator[str]:
        """Yield the names of all blobs. Stray entries of their folders are included."""
        for folder in sorted((self.root / "sha256").glob("??")):
            if folder.is_dir():
                yield from sorted(entry.name for entry in folder.iterdir())

    def _own_partial(self, sha256: str) -> Path:
        # Two concurrent writers of the same content must not share a partial file.
        partial = self.partial(sha256)
        return partial.with_name(f"{sha256}.{os.getpid()}.{os.urandom(4).hex()}")


def remove_path(path: Path) -> None:
    """Remove the file or folder at `path` if it exists.

    Raises:
        OSError: it cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
