"""Results of find-performance runs, which set parameters of later runs on the same device."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from fleetmark_core.modes import FIND

_LOOKED_AT = 50
_OF_THE_SEARCH = ("min_duration_s", "profile_ops")
"""Parameters that may differ between a search and the run that uses its result."""


def newest(
    connection: sqlite3.Connection,
    device_id: str,
    lock_sha256: str,
    configuration: Mapping[str, Any],
) -> float | None:
    """Return the result of the newest official search with the same lockfile on the same device.

    Args:
        connection: Connection in a read transaction.
        device_id: Device of the search.
        lock_sha256: Digest of the lockfile.
        configuration: Configuration of the job that uses the result. Scenario, profile and
            parameters must be the same, except for the minimum duration of a test, and for
            profiling, which runs after the measurement.

    Returns:
        None if there is no such search, or if it found nothing.
    """
    rows = connection.execute(
        "SELECT run.search_trace, run.parameters FROM run JOIN attempt USING (job_id, epoch)"
        " WHERE device_id = ? AND lock_sha256 = ? AND run.mode = ? AND scenario = ?"
        " AND profile = ? AND official = 1 AND run.search_trace IS NOT NULL"
        " ORDER BY run_id DESC LIMIT ?",
        (
            *(device_id, lock_sha256, FIND, configuration["scenario"]),
            *(configuration["profile"], _LOOKED_AT),
        ),
    )
    wanted = _compared(configuration["parameters"])
    for search, parameters in rows:
        if _compared(json.loads(parameters)) == wanted:
            found = json.loads(search)["found"]
            return None if found is None else float(found)
    return None


def _compared(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in _OF_THE_SEARCH}
