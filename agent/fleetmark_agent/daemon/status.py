"""What can be said of an agent's home from outside, whether or not an agent runs with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fleetmark_agent.state.file_locks import is_held
from fleetmark_agent.state.files import tree_bytes
from fleetmark_core.regular_file import read_regular


def home_status(home: Path) -> dict[str, Any]:
    """Return what runs, whether it is connected or why not, what it holds. Stable keys.

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
    """What an agent last wrote down of itself; empty if none ever did."""
    try:
        values = json.loads(read_regular(home / "status.json"))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}
