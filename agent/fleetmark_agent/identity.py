"""Who this device is: an id made once and kept in the home."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from fleetmark_agent.files import write_atomic
from fleetmark_agent.ids import uuid7
from fleetmark_protos.errors import ErrorKind, FleetmarkError


def device_id(home: Path) -> str:
    """The device's id; a new one in a new home.

    Raises:
        FleetmarkError: the file is damaged. It is not replaced: the controller would take the
            board for another one.
        OSError: the home cannot be read or written.
    """
    path = home / "identity" / "device.json"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        made = uuid7()
        write_atomic(path, json.dumps({"device_id": made}).encode() + b"\n")
        return made
    try:
        return str(uuid.UUID(json.loads(data)["device_id"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            "it does not hold a device id",
            str(path),
            "Restore it; or remove it, and the controller sees a new device",
        ) from error
