"""The device's blob cache: resumable downloads, verification and least-recently-used eviction."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetmark_agent.errors import Refusal
from fleetmark_agent.net.transport import TransportError
from fleetmark_agent.state.files import free_bytes, tree_bytes
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.lockfile import BlobRef
from fleetmark_core.resource_model import size
from fleetmark_core.retry import Backoff

Download = Callable[[str, int], AsyncIterator[bytes]]
"""Yields the bytes of a blob (sha256) from an offset; raises `TransportError`."""

_BEAT_S = (0.2, 15.0)


@dataclass(frozen=True)
class _CacheEntry:
    """An entry that can be evicted: a blob, a partial download or an environment."""

    name: str
    path: Path
    used_at: float
    size_bytes: int


class Cache:
    """Cache of blobs (`root`/blobs) and environments (`root`/envs) under one size limit."""

    def __init__(self, root: Path, limit_bytes: int, min_free_bytes: int) -> None:
        """Set the folders and limits.

        Args:
            root: the cache folder.
            limit_bytes: the size above which entries are evicted.
            min_free_bytes: bytes of the file system that downloads must leave free.
        """
        self.root = root
        self.blobs = BlobFolder(root / "blobs")
        self.environments = root / "envs"
        self.limit_bytes = limit_bytes
        self.min_free_bytes = min_free_bytes
        self._pins: dict[object, frozenset[str]] = {}

    def clean(self) -> None:
        """Remove the leftovers of an interrupted process. Call once, before use."""
        for path in self.environments.glob("*.tmp-*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.environments.glob("*.json"):
            # The task file of a helper process.
            path.unlink(missing_ok=True)
        for path in (self.blobs.root / "partial").glob("*.*"):
            # A name with a suffix is a temporary copy that is never resumed.
            path.unlink(missing_ok=True)

    @contextmanager
    def pinned(self, owner: object, names: Iterable[str]) -> Iterator[None]:
        """Hold the blobs (sha256) and environments (key) in `names` in the cache."""
        self._pins[owner] = frozenset(names)
        try:
            yield
        finally:
            del self._pins[owner]

    def used_bytes(self) -> int:
        """Return the size in bytes of everything in the cache folder."""
        return tree_bytes(self.root)

    def lacking(self, blobs: Iterable[BlobRef]) -> list[BlobRef]:
        """Return the blobs that are not in the cache, without duplicates."""
        found = {blob.sha256: blob for blob in blobs if not self.blobs.has(blob.sha256)}
        return list(found.values())

    def make_room(self, needed_bytes: int, what: str = "", beside_bytes: int = 0) -> None:
        """Evict entries that no attempt needs until `needed_bytes` more fit.

        Free space on the disk is required. The size limit is not: it may be exceeded once nothing
        more can be evicted.

        Args:
            needed_bytes: bytes that will be added to the cache.
            what: the purpose, for the error message.
            beside_bytes: further bytes that must be free on the disk, outside the cache.

        Raises:
            Refusal: the disk has too little free space; the message names both figures.
        """
        whole = needed_bytes + beside_bytes
        if not needed_bytes and self._fits(whole):
            return
        items = list(self._evictable())
        used = self.used_bytes()
        while items and (used + needed_bytes > self.limit_bytes or not self._fits(whole)):
            item = items.pop(0)
            _delete(item.path)
            used -= item.size_bytes
        if self._fits(whole):
            return
        free = max(0, free_bytes(self.root) - self.min_free_bytes)
        kept = self.min_free_bytes
        beyond = f" besides the {size(kept)} that must stay free" if kept else ""
        raise Refusal(
            f"{what or 'the job'} needs {size(whole)}, {size(free)} free at {self.root}{beyond}: "
            "free space or move the home",
            retryable=False,
        )

    async def fetch(self, blob: BlobRef, download: Download, *, patient: bool = True) -> Path:
        """Return the path of the blob; download it if it is missing, resuming a partial download.

        If the downloaded bytes do not match the digest, they are downloaded once more.

        Args:
            blob: the blob.
            download: the source of the bytes.
            patient: whether to wait for a controller that cannot be reached.

        Raises:
            Refusal: the controller does not have the blob or sends wrong bytes, or the disk is
                full.
            TransportError: the controller cannot be reached and `patient` is False.
        """
        for last in (False, True):
            try:
                await self._collect(blob, download, patient)
                return await asyncio.to_thread(self._commit, blob)
            except FleetmarkError as error:
                if last:
                    raise Refusal(
                        f"{blob.name}: {error.what}",
                        retryable=False,
                        cause=FailureCause.UNCERTAIN,
                    ) from error
            except OSError as error:
                # The partial download would keep the disk full.
                self.blobs.partial(blob.sha256).unlink(missing_ok=True)
                raise storage_error(error, self.root, blob.name) from error
        raise AssertionError("the second attempt returns or raises")

    async def verified(self, blob: BlobRef) -> Path:
        """Verify the digest of a cached blob again and return its path.

        Raises:
            Refusal: the bytes have changed on the disk; the blob is removed, so that a retry
                downloads it again.
        """
        path = self.blobs.path(blob.sha256)
        found = await asyncio.to_thread(sha256_file, path)
        if found != blob.sha256:
            self.blobs.remove(blob.sha256)
            raise Refusal(f"{blob.name} is damaged on the disk of the device", retryable=True)
        os.utime(path)
        return path

    async def _collect(self, blob: BlobRef, download: Download, patient: bool) -> None:
        """Download the rest of the blob into its partial file."""
        if self.blobs.has(blob.sha256):
            return
        partial = self.blobs.partial(blob.sha256)
        backoff = Backoff(*_BEAT_S)
        while True:
            have = partial.stat().st_size if partial.exists() else 0
            if have > blob.size_bytes:
                partial.unlink()
                have = 0
            if have == blob.size_bytes:
                partial.touch()
                return
            try:
                with partial.open("ab") as file:
                    async for chunk in download(blob.sha256, have):
                        have += len(chunk)
                        if have > blob.size_bytes:
                            file.truncate(0)
                            raise Refusal(
                                f"{blob.name}: the controller sent more than the "
                                f"{blob.size_bytes} declared bytes",
                                retryable=False,
                                cause=FailureCause.CONTROLLER,
                            )
                        file.write(chunk)
                        backoff.reset()
                if have < blob.size_bytes:
                    raise TransportError(f"{blob.name}: the transfer is incomplete", temporary=True)
            except TransportError as error:
                if not error.temporary:
                    raise Refusal(
                        f"{blob.name}: {error}", retryable=False, cause=FailureCause.CONTROLLER
                    ) from error
                if not patient:
                    raise
                await asyncio.sleep(backoff.next_s())

    def _commit(self, blob: BlobRef) -> Path:
        path = self.blobs.path(blob.sha256)
        if not self.blobs.has(blob.sha256):
            partial = self.blobs.partial(blob.sha256)
            path = self.blobs.commit(partial, blob.sha256, blob.size_bytes)
            path.chmod(0o444)
        return path

    def _fits(self, needed_bytes: int) -> bool:
        return needed_bytes + self.min_free_bytes <= free_bytes(self.root)

    def _evictable(self) -> Iterator[_CacheEntry]:
        """Return the entries that no attempt needs, least recently used first."""
        pinned = frozenset().union(*self._pins.values())
        items: list[_CacheEntry] = []
        for sha256 in self.blobs:
            path = self.blobs.path(sha256)
            state = path.stat()
            items.append(_CacheEntry(sha256, path, state.st_mtime, state.st_size))
        for path in (self.blobs.root / "partial").glob("*"):
            state = path.stat()
            items.append(_CacheEntry(path.name, path, state.st_mtime, state.st_size))
        for path in self.environments.glob("*"):
            items.append(_CacheEntry(path.name, path, path.stat().st_mtime, tree_bytes(path)))
        return iter(
            sorted((item for item in items if item.name not in pinned), key=lambda i: i.used_at)
        )


def storage_error(error: OSError, root: Path, name: str) -> Refusal:
    """Return the refusal of an attempt that needs `name`, for a file system error at `root`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = size(free_bytes(root))
        return Refusal(
            f"no space left for {name}, {free} free at {root}: free space or move the home",
            retryable=False,
        )
    return Refusal(f"{name} cannot be stored at {root}: {error.strerror or error}", retryable=False)


def _delete(path: Path) -> None:
    if path.is_dir():
        # Renamed first: a partly deleted environment must not be used as a complete one.
        doomed = path.with_name(f"{path.name}.tmp-{os.getpid()}")
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
