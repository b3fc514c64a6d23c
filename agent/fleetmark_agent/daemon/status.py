"""Status of an agent's home, readable whether or not an agent is running."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fleetmark_agent.state.file_locks import is_held
from fleetmark_agent.state.files import tree_bytes
from fleetmark_agent.state.identity import ACTIVE, load_enrollment
from fleetmark_agent.state.status_file import read_status
from fleetmark_core.errors import FleetmarkError

EXIT_CONNECTED = 0
EXIT_NOT_RUNNING = 3
EXIT_NOT_ENROLLED = 4
EXIT_NOT_CONNECTED = 5
NOT_ENROLLED, DAMAGED = "none", "damaged"


def home_status(home: Path) -> dict[str, Any]:
    """Return the state of the agent, its connection or outage, and its attempts. Keys are stable.

    `enrollment` is `none`, `pending` (waiting for approval), `active`, or `damaged`.

    Raises:
        OSError: the home cannot be read.
    """
    running = is_held(home / "agent.lock")
    last = read_status(home)
    return {
        "home": str(home),
        "running": running,
        "pid": last.get("pid") if running else None,
        "device_id": last.get("device_id"),
        "name": last.get("name"),
        "controller": last.get("controller"),
        "enrollment": _enrollment(home),
        "connected": bool(last.get("connected")) if running else False,
        "outage": last.get("outage", "") if running else "",
        "job_running": is_held(home / "device.lock"),
        "spool_bytes": tree_bytes(home / "spool") + tree_bytes(home / "attempts"),
        "cache_bytes": tree_bytes(home / "cache"),
        "attempts": last.get("attempts", []),
    }


def exit_code(status: Mapping[str, Any]) -> int:
    """Return the exit code of `agent status` for what `home_status` returned."""
    if status["enrollment"] != ACTIVE:
        return EXIT_NOT_ENROLLED
    if not status["running"]:
        return EXIT_NOT_RUNNING
    return EXIT_CONNECTED if status["connected"] else EXIT_NOT_CONNECTED


def _enrollment(home: Path) -> str:
    try:
        known = load_enrollment(home)
    except FleetmarkError:
        return DAMAGED
    return NOT_ENROLLED if known is None else known.state
