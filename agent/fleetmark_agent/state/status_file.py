"""The file with the agent's current status, which `agent status` reads."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.regular_file import read_regular

STATUS = "status.json"
STARTING = "the agent is starting"


def read_status(home: Path) -> dict[str, Any]:
    """Return the last written status; empty if none was ever written.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        values = json.loads(read_regular(home / STATUS))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def write_status(home: Path, data: bytes) -> None:
    """Replace the file. A failure is ignored, because the next change writes it again."""
    with suppress(OSError):
        write_atomic(home / STATUS, data, durable=False)


def mark_starting(home: Path) -> None:
    """Record that an agent starts, so that the status of a killed agent is no longer shown."""
    with suppress(OSError):
        values = {**read_status(home), "pid": os.getpid()}
        values |= {"connected": False, "outage": STARTING}
        write_status(home, json.dumps(values, indent=1).encode() + b"\n")
