"""Calibrated speeds of devices, from which the memory needs of later jobs are predicted."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping

from fleetmark_controller.planning.resources import CalibrationKey


class CalibrationIndex:
    """Cache of the shortest calibrated time per sample of each device and model.

    Runs are only added, and every campaign needs these times. Each call therefore reads only the
    runs that were stored since the last one. Safe to use from any thread.
    """

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._turn = threading.Lock()
        self._last = 0
        self._known: dict[CalibrationKey, int] = {}

    def quickest(self, connection: sqlite3.Connection) -> Mapping[CalibrationKey, int]:
        """Return the shortest time per sample, in nanoseconds, of all official runs.

        It is the time that the calibration measured, because LoadGen derives its number of queries
        from it. For a program that reports no calibration, it follows from the run's result.

        Returns:
            A mapping that is shared between callers; do not change it.
        """
        with self._turn:
            newest = connection.execute("SELECT coalesce(max(rowid), 0) FROM run").fetchone()[0]
            if newest < self._last:
                # The rows that were read before are gone: the store was rebuilt.
                self._last, self._known = 0, {}
            for row in connection.execute(_NEW, (self._last,)):
                pace = row[5]
                if isinstance(pace, int | float) and 1 <= pace < 1 << 62:
                    known = CalibrationKey(*row[:5])
                    self._known[known] = min(int(pace), self._known.get(known, int(pace)))
            self._last = newest
            return self._known


_NEW = """SELECT device_id, coalesce(model, ''), coalesce(precision, ''), coalesce(runtime, ''),
    scenario, min(coalesce(
        1.0 * json_extract(provenance, '$.program_result.calibration.latency_ns')
            / json_extract(provenance, '$.program_result.calibration.batch_size'),
        CASE scenario WHEN 'Offline' THEN 1e9 / throughput_samples_per_s
            ELSE 1e6 * latency_p50_ms END)) AS pace_ns
    FROM run JOIN attempt USING (job_id, epoch)
    WHERE run.rowid > ? AND official = 1 GROUP BY 1, 2, 3, 4, 5"""
