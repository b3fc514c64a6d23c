"""The file in which a running controller publishes its addresses on this host."""

from __future__ import annotations

import json
import os
from pathlib import Path

from fleetmark_controller.home.device_address import device_host
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.document_parser import parse_json
from fleetmark_core.network_address import join_address, split_address
from fleetmark_core.regular_file import read_regular

ENDPOINT = "endpoint.json"
_MAX_BYTES = 64 << 10


def write_endpoint(folder: Path, address: str, device_address: str, local_name: str = "") -> None:
    """Write the controller's addresses to the endpoint file for programs on this host.

    Args:
        folder: the controller's home.
        address: HOST:PORT for programs on this host.
        device_address: HOST:PORT for devices; empty if this host has no network.
        local_name: this host's name under `.local`, if the controller listens on every address, so
            that `device_address` changes with the addresses of this host.

    Raises:
        OSError: it cannot be written.
    """
    values = {
        "address": address,
        "device_address": device_address,
        "local_name": local_name,
        "pid": os.getpid(),
    }
    write_atomic(folder / ENDPOINT, json.dumps(values).encode(), durable=False)


def read_endpoint(folder: Path) -> tuple[str, int]:
    """Return the published address of a home's controller and its process id.

    Both are empty (`""`, 0) if there is no readable file. A killed controller leaves the file
    behind, so callers must check the process.
    """
    try:
        values = parse_json(read_regular(folder / ENDPOINT, _MAX_BYTES))
        return str(values["address"]), int(values["pid"])
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return "", 0


def read_device_endpoint(folder: Path) -> str:
    """Return where devices reach the controller of a home now; empty if they do not."""
    try:
        values = parse_json(read_regular(folder / ENDPOINT, _MAX_BYTES))
        address, written = str(values["address"]), str(values["device_address"])
        local_name = str(values.get("local_name", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return ""
    host = device_host(local_name) if local_name else ""
    try:
        return join_address(host, split_address(address)[1]) if host else written
    except ValueError:
        return written
