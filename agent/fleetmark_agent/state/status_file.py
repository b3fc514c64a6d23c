"""The file in which an agent says what it does, for `agent status`."""

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
    """Return what an agent wrote last; empty if none ever did.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        values = json.loads(read_regular(home / STATUS))
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def write_status(home: Path, data: bytes) -> None:
    """Replace the file. It is no fault if that fails: the next change writes it again."""
    with suppress(OSError):
        write_atomic(home / STATUS, data, durable=False)


def mark_starting(home: Path) -> None:
    """Note that an agent starts, so that what one that was killed wrote no longer counts."""
    with suppress(OSError):
        values = {**read_status(home), "pid": os.getpid()}
        values |= {"connected": False, "outage": STARTING}
        write_status(home, json.dumps(values, indent=1).encode() + b"\n")
