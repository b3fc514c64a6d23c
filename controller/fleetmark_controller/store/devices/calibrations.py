"""How fast boards have shown to be: what predictions of memory follow from."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping

from fleetmark_controller.planning.resources import Known


class Paces:
    """The quickest that each board was, read on from where it was read last.

    Runs only ever come, and every campaign asks: reading all of them anew would take longer with
    each. Any thread may ask.
    """

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._turn = threading.Lock()
        self._last = 0
        self._known: dict[Known, int] = {}

    def quickest(self, connection: sqlite3.Connection) -> Mapping[Known, int]:
        """Nanoseconds a sample, the least that any official run was calibrated to.

        The calibration and not the result, since that is what LoadGen's queries follow from; a
        program that tells none is taken by its result. The mapping is shared: leave it as it is.
        """
        with self._turn:
            newest = connection.execute("SELECT coalesce(max(rowid), 0) FROM run").fetchone()[0]
            if newest < self._last:
                # Not the rows that were read before: the store was rebuilt.
                self._last, self._known = 0, {}
            for row in connection.execute(_NEW, (self._last,)):
                pace = row[5]
                if isinstance(pace, int | float) and 1 <= pace < 1 << 62:
                    known = Known(*row[:5])
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
