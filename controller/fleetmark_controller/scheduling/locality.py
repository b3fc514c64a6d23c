"""How much a board would have to be sent for a job, by what it was sent before."""

from __future__ import annotations

from collections.abc import Mapping


class Stock:
    """Counts missing bytes; remembers what it counted."""

    def __init__(self, blobs: Mapping[str, Mapping[str, int]]) -> None:
        """`blobs`: of each lock, sha256 and size of every blob."""
        self._blobs = blobs
        self._missing: dict[tuple[frozenset[str], str], int] = {}
        self._held: dict[frozenset[str], frozenset[str]] = {}

    def missing_bytes(self, locks: frozenset[str], lock: str) -> int:
        """Bytes of `lock` that a board lacks that was sent `locks`.

        The board may have evicted some: this is a preference, not a promise.
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
