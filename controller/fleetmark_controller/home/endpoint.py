"""The file in which a running controller publishes its addresses on this host."""

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
    """Publish the controller's addresses for programs on this host and for devices."""
    values = {"address": address, "board_address": board_address, "pid": os.getpid()}
    write_atomic(folder / ENDPOINT, json.dumps(values).encode(), durable=False)


def read_endpoint(folder: Path) -> tuple[str, int]:
    """Return the published address of a home's controller and its process id.

    Both are empty (`""`, 0) if there is no readable file. A killed controller leaves the file
    behind, so callers must check the process.
    """
    try:
        said = parse_json(read_regular(folder / ENDPOINT, _MAX_BYTES))
        return str(said["address"]), int(said["pid"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "", 0


def read_board_endpoint(folder: Path) -> str:
    """Return the published address for devices; empty if there is no readable file."""
    try:
        return str(parse_json(read_regular(folder / ENDPOINT, _MAX_BYTES))["board_address"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return ""
