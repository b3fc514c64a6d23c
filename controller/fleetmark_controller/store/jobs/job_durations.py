"""Durations of earlier attempts, for estimates."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from fleetmark_controller.planning.estimates import DurationHistory, Key

_NEWEST = 1000
"""Number of newest jobs per configuration that are read; older ones are less representative."""


def earlier(connection: sqlite3.Connection, keys: Collection[str]) -> DurationHistory:
    """Return the mean seconds of these configurations' attempts, per device and overall."""
    on_device: dict[tuple[Key, str], float] = {}
    sums: dict[Key, tuple[float, int]] = {}
    for configuration in sorted(set(keys)):
        rows = connection.execute(
            """SELECT json_extract(configuration, '$.mode'), attempt.device_id, count(*),
            avg((julianday(attempt.finished_at) - julianday(attempt.created_at)) * 86400.0)
            FROM (SELECT job_id, configuration FROM job WHERE configuration_key = ?
                ORDER BY rowid DESC LIMIT ?) JOIN attempt USING (job_id)
            WHERE attempt.state = 'DONE' GROUP BY 1, 2""",
            (configuration, _NEWEST),
        )
        for mode, device, count, seconds in rows:
            key = (configuration, mode)
            on_device[key, device] = max(0.0, seconds)
            total, number = sums.get(key, (0.0, 0))
            sums[key] = (total + max(0.0, seconds) * count, number + count)
    return DurationHistory(
        on_device, {key: total / number for key, (total, number) in sums.items()}
    )
