"""Blob locality: how many bytes of a job's bundle a device does not have yet."""

from __future__ import annotations

from collections.abc import Mapping


class BlobLocality:
    """Counter of the missing bytes per lockfile, with a cache."""

    def __init__(self, blobs: Mapping[str, Mapping[str, int]]) -> None:
        """Create a counter with an empty cache.

        Args:
            blobs: the SHA-256 and size of every blob of each lockfile.
        """
        self._blobs = blobs
        self._missing: dict[tuple[frozenset[str], str], int] = {}
        self._held: dict[frozenset[str], frozenset[str]] = {}

    def missing_bytes(self, locks: frozenset[str], lock: str) -> int:
        """Return how many bytes of `lock` must be sent to a device that already received `locks`.

        The device may have evicted some blobs, so the result is a preference and not a guarantee.
        """
        if lock in locks:
            return 0
        known = self._missing.get((locks, lock))
        if known is None:
            held = self._holds(locks)
            wanted = self._blobs.get(lock, {})
            known = sum(size for digest, size in wanted.items() if digest not in held)
            self._missing[locks, lock] = known
        return known

    def _holds(self, locks: frozenset[str]) -> frozenset[str]:
        held = self._held.get(locks)
        if held is None:
            held = frozenset(digest for lock in locks for digest in self._blobs.get(lock, {}))
            self._held[locks] = held
        return held
