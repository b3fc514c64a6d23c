"""The file in which a running controller says where it listens."""

from __future__ import annotations

import json
import os
from pathlib import Path

from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.document_parser import parse_json
from fleetmark_core.regular_file import read_regular

ENDPOINT = "endpoint.json"
_MAX_BYTES = 64 << 10


def write_endpoint(folder: Path, address: str, board_address: str) -> None:
    """Tell programs on this host where the controller listens, for them and for boards."""
    values = {"address": address, "board_address": board_address, "pid": os.getpid()}
    write_atomic(folder / ENDPOINT, json.dumps(values).encode(), durable=False)


def read_endpoint(folder: Path) -> tuple[str, int]:
    """Where the controller of a home said that it listens, and its process; empty if it did not.

    A controller that was killed leaves what it said behind: compare the process.
    """
    try:
        said = parse_json(read_regular(folder / ENDPOINT, _MAX_BYTES))
        return str(said["address"]), int(said["pid"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "", 0


def read_board_endpoint(folder: Path) -> str:
    """Where the controller of a home said that boards reach it; empty if it did not."""
    try:
        return str(parse_json(read_regular(folder / ENDPOINT, _MAX_BYTES))["board_address"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return ""
