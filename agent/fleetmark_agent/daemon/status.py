"""Status of an agent's home, readable whether or not an agent is running."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fleetmark_agent.state.file_locks import is_held
from fleetmark_agent.state.files import tree_bytes
from fleetmark_core.regular_file import read_regular


def home_status(home: Path) -> dict[str, Any]:
    """Return what runs, the connection state or outage, and the held attempts. Keys are stable.

    Raises:
        OSError: the home cannot be read.
    """
    running = is_held(home / "agent.lock")
    last = _last_words(home)
    return {
        "home": str(home),
        "running": running,
        "pid": last.get("pid") if running else None,
        "device_id": last.get("device_id"),
        "name": last.get("name"),
        "controller": last.get("controller"),
        "connected": bool(last.get("connected")) if running else False,
        "outage": last.get("outage", "") if running else "",
        "job_running": is_held(home / "device.lock"),
        "spool_bytes": tree_bytes(home / "spool") + tree_bytes(home / "attempts"),
        "cache_bytes": tree_bytes(home / "cache"),
        "attempts": last.get("attempts", []),
    }


def _last_words(home: Path) -> dict[str, Any]:
    """Return the content of the agent's status file; empty if there is none."""
    try:
        values = json.loads(read_regular(home / "status.json"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
