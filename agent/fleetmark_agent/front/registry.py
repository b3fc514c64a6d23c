"""The front's home: one file for each device, one for its connection, and the front's own name."""

from __future__ import annotations

import dataclasses
import getpass
import json
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetmark_agent.state.file_locks import is_held, try_lock
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.device_names import is_device_name
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular
from fleetmark_core.ssh_address import parse_jump, parse_ssh_address

_MAX_BYTES = 64 * 1024


@dataclass(frozen=True)
class FrontedDevice:
    """A device of this front, as the operator added it."""

    name: str
    address: str
    controller: str
    enrollment_port: int
    version: str
    """Version of the agent's files on the device."""
    jump: str = ""
    ssh_config: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    is_removed: bool = False
    """True while the device is being removed: the front then leaves it alone."""


class FrontHome:
    """Reads and writes the files of a front. Their owner alone may read them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = folder / "front.lock"

    def mark(self) -> str:
        """Return the line that marks the folders of this front on devices; create it once.

        Raises:
            OSError: the home cannot be used.
        """
        path = self.folder / "front.json"
        try:
            return str(parse_json(read_regular(path, _MAX_BYTES))["mark"])
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged_error(path) from error
        place = "".join(c for c in str(self.folder) if c.isprintable())[:200]
        line = f"{secrets.token_hex(16)} {_account()}:{place}"
        write_atomic(path, json.dumps({"mark": line}).encode(), private=True)
        return line

    def load(self) -> dict[str, FrontedDevice]:
        """Return the devices by name.

        Raises:
            FleetmarkError: STORE_UNUSABLE: a file is damaged.
            OSError: the home cannot be read.
        """
        found = {}
        for path in sorted(self.folder.glob("devices/*.json")):
            try:
                device = _checked(parse_json(read_regular(path, _MAX_BYTES)))
            except FileNotFoundError:
                continue
            except (ValueError, KeyError, TypeError) as error:
                raise self._damaged_error(path) from error
            found[device.name] = device
        return found

    def get(self, name: str) -> FrontedDevice:
        """Return one device.

        Raises:
            FleetmarkError: NOT_FOUND: this front has no such device.
        """
        found = self.load().get(name)
        if found is None:
            raise FleetmarkError(
                ErrorKind.NOT_FOUND,
                f"this front has no device {name!r}",
                str(self.folder),
                "List its devices: agent front list",
            )
        return found

    def save(self, device: FrontedDevice) -> None:
        """Write a device's file."""
        text = json.dumps(dataclasses.asdict(device), indent=1).encode()
        write_atomic(self.folder / "devices" / f"{device.name}.json", text, private=True)

    def delete(self, name: str) -> None:
        """Delete a device's files."""
        for kind in ("devices", "status"):
            (self.folder / kind / f"{name}.json").unlink(missing_ok=True)

    def set_status(self, name: str, state: str, reason: str = "") -> None:
        """Write the state of a device's connection, if there is space for it."""
        text = json.dumps({"state": state, "reason": reason}).encode()
        path = self.folder / "status" / f"{name}.json"
        # A full disk must not end a connection.
        with suppress(OSError):
            write_atomic(path, text, durable=False, private=True)

    def clear_status(self, name: str) -> None:
        """Delete the state of a device's connection."""
        (self.folder / "status" / f"{name}.json").unlink(missing_ok=True)

    def status(self, name: str) -> tuple[str, str]:
        """Return state and reason; both are empty if no front process has the device."""
        try:
            found = parse_json(read_regular(self.folder / "status" / f"{name}.json", _MAX_BYTES))
            return str(found["state"]), str(found["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return "", ""

    def lock(self) -> None:
        """Become the one front process of this home, until the process ends.

        Raises:
            FleetmarkError: HOME_IN_USE: another one runs.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if try_lock(self._lock) is None:
            raise FleetmarkError(
                ErrorKind.HOME_IN_USE, "another front runs with this home", str(self.folder)
            )
        # A killed front leaves states that are not true any more.
        for path in self.folder.glob("status/*.json"):
            path.unlink(missing_ok=True)

    def is_running(self) -> bool:
        """Return whether a front process runs with this home."""
        return is_held(self._lock)

    def _damaged_error(self, path: Path) -> FleetmarkError:
        return FleetmarkError(
            ErrorKind.STORE_UNUSABLE, "the file is damaged", str(path), "Remove it, and add again"
        )


def _checked(values: Any) -> FrontedDevice:
    device = FrontedDevice(**values)
    if not is_device_name(device.name):
        raise ValueError(device.name)
    parse_ssh_address(device.address)
    if device.jump:
        parse_jump(device.jump)
    return device


def _account() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
