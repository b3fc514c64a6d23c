"""How fast boards have shown to be: what predictions of memory follow from."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A model in one form on one runtime of one device (by its name), in one scenario."""

    device: str
    model: str
    precision: str
    runtime: str
    scenario: str


def quickest(connection: sqlite3.Connection) -> dict[Known, int]:
    """Nanoseconds a sample, the least that any official run was calibrated to.

    The calibration and not the result, since that is what LoadGen's queries follow from; a program
    that tells none is taken by its result.
    """
    rows = connection.execute(
        """SELECT device, coalesce(model, ''), coalesce(precision, ''), coalesce(runtime, ''),
        scenario, min(coalesce(
            1.0 * json_extract(provenance, '$.program_result.calibration.latency_ns')
                / json_extract(provenance, '$.program_result.calibration.batch_size'),
            CASE scenario WHEN 'Offline' THEN 1e9 / throughput_samples_per_s
                ELSE 1e6 * latency_p50_ms END)) AS pace_ns
        FROM run WHERE official = 1 GROUP BY 1, 2, 3, 4, 5"""
    )
    return {
        Known(*row[:5]): int(row[5])
        for row in rows
        if isinstance(row[5], (int, float)) and 1 <= row[5] < 1 << 62
    }
