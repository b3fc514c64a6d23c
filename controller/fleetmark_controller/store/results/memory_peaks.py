"""Peak memory of runs, from which the memory needs of later jobs are predicted.

A row is added only if it raises the greatest peak of its lockfile, kind of device and run. So the
table stays small, and rows are never changed.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence

from fleetmark_controller.planning.memory_history import (
    MemoryHistory,
    MemoryKey,
    MemoryPeak,
    parse_run,
    run_text,
)

_ADD = """INSERT INTO memory_peak (lock_sha256, arch, cores, run, killed, peak_bytes)
    SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE NOT EXISTS (SELECT 1 FROM memory_peak
        WHERE lock_sha256 = ?1 AND arch = ?2 AND cores = ?3 AND run = ?4 AND killed = ?5
        AND peak_bytes >= ?6)"""
_OF_KEY = """SELECT run, killed, max(peak_bytes) FROM memory_peak
    WHERE lock_sha256 = ? AND arch = ? AND cores = ? GROUP BY run, killed"""
_NEW = """SELECT lock_sha256, arch, cores, run, killed, peak_bytes FROM memory_peak
    WHERE memory_peak_id > ? ORDER BY memory_peak_id"""


def add(connection: sqlite3.Connection, key: MemoryKey, peak: MemoryPeak) -> None:
    """Store a peak if it is greater than all earlier ones of the same key and run."""
    values = (*_values(key), run_text(peak.run), int(peak.killed), peak.peak_bytes)
    connection.execute(_ADD, values)


def of_key(connection: sqlite3.Connection, key: MemoryKey) -> list[MemoryPeak]:
    """Return the greatest peak of each run of a lockfile on like devices."""
    return [
        MemoryPeak(parse_run(run), peak, bool(killed))
        for run, killed, peak in connection.execute(_OF_KEY, _values(key))
    ]


class MemoryPeakIndex:
    """Cache of all greatest peaks. Each call reads only the rows added since the last one.

    Safe to use from any thread.
    """

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._turn = threading.Lock()
        self._last = 0
        self._known: dict[MemoryKey, dict[tuple[str, bool], MemoryPeak]] = {}
        self._history: dict[MemoryKey, Sequence[MemoryPeak]] = {}

    def all_peaks(self, connection: sqlite3.Connection) -> MemoryHistory:
        """Return the greatest peaks of all keys. The mapping is shared; do not change it."""
        with self._turn:
            row = connection.execute("SELECT coalesce(max(memory_peak_id), 0) FROM memory_peak")
            newest = int(row.fetchone()[0])
            if newest < self._last:
                # The rows that were read before are gone: the store was rebuilt.
                self._last, self._known, self._history = 0, {}, {}
            changed = set()
            for lock_sha256, arch, cores, run, killed, peak in connection.execute(
                _NEW, (self._last,)
            ):
                key = MemoryKey(lock_sha256, arch, cores)
                # Rows of one run are in ascending order of their peaks.
                self._known.setdefault(key, {})[run, bool(killed)] = MemoryPeak(
                    parse_run(run), peak, bool(killed)
                )
                changed.add(key)
            if changed:
                # A new mapping, because an earlier one may be in use by another thread.
                self._history = {
                    **self._history,
                    **{key: tuple(self._known[key].values()) for key in changed},
                }
            self._last = newest
            return self._history


def _values(key: MemoryKey) -> tuple[str, str, int]:
    return key.lock_sha256, key.arch, key.cores
