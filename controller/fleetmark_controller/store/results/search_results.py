"""What mode find-performance found on a board: what later performance runs there are told."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from fleetmark_core.modes import FIND

_LOOKED_AT = 50
_OF_THE_SEARCH = ("min_duration_s",)
"""Parameters that may differ between a search and the run that it is for."""


def newest(
    connection: sqlite3.Connection,
    device_id: str,
    lock_sha256: str,
    configuration: Mapping[str, Any],
) -> float | None:
    """What the newest official search of the same lock on the same device found.

    `configuration` is that of the job that wants to know: scenario, profile and parameters must be
    the same, but for how long a test lasts. None: there is no such search, or it found nothing.
    """
    rows = connection.execute(
        "SELECT run.search, run.parameters FROM run JOIN attempt USING (job_id, epoch)"
        " WHERE device_id = ? AND lock_digest = ? AND run.mode = ? AND scenario = ?"
        " AND profile = ? AND official = 1 AND run.search IS NOT NULL"
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
