"""How long earlier attempts took, for estimates."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from fleetmark_controller.estimating import Earlier, Key

_CHUNK = 500


def earlier(connection: sqlite3.Connection, keys: Collection[str]) -> Earlier:
    """Of configurations with these keys: mean seconds by device, and on all of them."""
    on_device: dict[tuple[Key, str], float] = {}
    sums: dict[Key, tuple[float, int]] = {}
    wanted = sorted(set(keys))
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        rows = connection.execute(
            f"""SELECT configuration_key, json_extract(configuration, '$.mode'),
            attempt.device_id, count(*),
            avg((julianday(attempt.finished_at) - julianday(attempt.created_at)) * 86400.0)
            FROM job JOIN attempt USING (job_id)
            WHERE attempt.state = 'DONE' AND configuration_key IN ({",".join("?" * len(chunk))})
            GROUP BY 1, 2, 3""",  # noqa: S608
            chunk,
        )
        for configuration, mode, device, count, seconds in rows:
            key = (configuration, mode)
            on_device[key, device] = max(0.0, seconds)
            total, number = sums.get(key, (0.0, 0))
            sums[key] = (total + max(0.0, seconds) * count, number + count)
    return Earlier(on_device, {key: total / number for key, (total, number) in sums.items()})
