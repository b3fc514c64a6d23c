"""Who this device is: an id made once, a key of its own, and what a controller has certified.

All lies in the home's `identity/`, readable by its owner alone. A helper process makes and renews
it (`fleetmark_agent.helpers.enroll`); this module only reads, and loads no cryptography.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import uuid7
from fleetmark_core.regular_file import read_regular

PENDING, ACTIVE = "pending", "active"
KEY, CA, CERTIFICATE = "key.pem", "ca.pem", "certificate.pem"
_STATE = "enrolment.json"
_STATE_BYTES = 1 << 20
_PEM_BYTES = 1024 * 1024
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----")
_RENEW_AFTER = 2 / 3


@dataclass(frozen=True)
class Enrolment:
    """What is known of the controller that this board belongs to, or has applied to.

    `address` is where it was reached last. Times are in unix ns, by the controller's clock, and 0
    as long as the state is PENDING. `name` is what the device is called there; empty if an agent
    that did not store it enrolled the device.
    """

    state: str
    address: str
    entry_port: int
    ca_sha256: str
    catalog_sha256: str
    issued_ns: int = 0
    expires_ns: int = 0
    name: str = ""

    @property
    def renew_ns(self) -> int:
        """When the certificate should be renewed."""
        return self.issued_ns + int((self.expires_ns - self.issued_ns) * _RENEW_AFTER)


@dataclass(frozen=True)
class Tls:
    """PEM texts by which both sides know each other."""

    ca: bytes
    key: bytes
    certificate: bytes


def folder(home: Path) -> Path:
    """Where identities lie."""
    return home / "identity"


def load_enrolment(home: Path) -> Enrolment | None:
    """What was stored last; None if this board has never applied anywhere.

    Raises:
        FleetmarkError: the file is damaged.
        OSError: it cannot be read.
    """
    path = folder(home) / _STATE
    try:
        values = parse_json(read_regular(path, _STATE_BYTES))
        checked: dict[str, Any] = {name: kind(values[name]) for name, kind in _FIELDS.items()}
        return Enrolment(**checked, name=str(values.get("name", "")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            "it is damaged",
            str(path),
            "Remove it, and start the agent with a join token",
        ) from error


def save_enrolment(home: Path, enrolment: Enrolment) -> None:
    """Store it, whole."""
    write_atomic(folder(home) / _STATE, json.dumps(asdict(enrolment), indent=1).encode() + b"\n")


def load_tls(home: Path) -> Tls:
    """Key and certificates of an enrolled board.

    Raises:
        FleetmarkError: NOT_ENROLLED: the board has never applied anywhere; CONFIGURATION: one of
            the files is missing or damaged, or cannot be read.
    """
    place = folder(home)
    try:
        return Tls(*(_pem(place / name) for name in (CA, KEY, CERTIFICATE)))
    except FileNotFoundError as error:
        if not (place / _STATE).exists():
            raise not_enrolled(str(place)) from error
        raise damaged_identity_error(Path(error.filename), "it is missing") from error


def _pem(path: Path) -> bytes:
    """Read a file of PEM blocks, and check that each is whole.

    gRPC aborts the process for an empty key or certificate, trusts public CAs if the CA file is
    empty, and reports other damage as an unreachable address.
    """
    try:
        text = read_regular(path, _PEM_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise damaged_identity_error(path, error.strerror or "it cannot be read") from error
    blocks = _PEM.findall(text)
    if not blocks or not all(map(_is_der, blocks)):
        raise damaged_identity_error(path, "it is empty" if not text else "it is damaged")
    return text


def _is_der(block: tuple[bytes, bytes]) -> bool:
    """Return whether a PEM block is the base64 of one whole DER sequence (X.690, 8.1.3)."""
    try:
        data = base64.b64decode(block[1].translate(None, b"\r\n"), validate=True)
    except ValueError:
        return False
    if len(data) < 4 or data[0] != 0x30:
        return False
    count = data[1] & 0x7F if data[1] & 0x80 else 0
    size = int.from_bytes(data[2 : 2 + count], "big") if count else data[1]
    return len(data) == 2 + count + size


def damaged_identity_error(path: Path, what: str) -> FleetmarkError:
    """Return the error for a file of the identity that cannot be used."""
    return FleetmarkError(
        ErrorKind.CONFIGURATION,
        what,
        str(path),
        "Restore the file. Or remove the folder identity/ and start the agent with a join token; it"
        " is then a new device",
    )


def protect_identity(home: Path) -> list[str]:
    """Take access to the key and to the home away from other users; return a line for each.

    Raises:
        FleetmarkError: CONFIGURATION: a mode cannot be changed.
    """
    from fleetmark_core.private_files import protect_files, protect_folders

    place = folder(home)
    return [*protect_folders((home, place)), *protect_files((place / KEY,))]


def lost_enrollment_error(home: Path) -> FleetmarkError:
    """Return the error for a board without enrollment: it is new, or its file is missing."""
    if not (folder(home) / CERTIFICATE).exists():
        return not_enrolled(str(home))
    what = "it is missing, though this device has a certificate"
    return damaged_identity_error(folder(home) / _STATE, what)


def not_enrolled(where: str) -> FleetmarkError:
    """What a board without identity is told."""
    return FleetmarkError(
        ErrorKind.NOT_ENROLLED,
        "this board belongs to no controller yet",
        where,
        "Make a join token there with `controller token create`, and start the agent with it",
    )


def device_id(home: Path) -> str:
    """The device's id; a new one in a new home.

    Raises:
        FleetmarkError: the file is damaged. It is not replaced: the controller would take the
            board for another one. Or it is missing, though the device has applied somewhere.
        OSError: the home cannot be read or written.
    """
    import uuid  # asked once, before the agent idles

    path = folder(home) / "device.json"
    try:
        data = read_regular(path, _STATE_BYTES)
    except FileNotFoundError:
        if (folder(home) / _STATE).exists():
            raise damaged_identity_error(path, "the id of this device is missing") from None
        return new_device_id(home)
    try:
        return str(uuid.UUID(parse_json(data)["device_id"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            "it does not hold a device id",
            str(path),
            "Restore it; or remove it, and the controller sees a new device",
        ) from error


def new_device_id(home: Path) -> str:
    """Give the device another id: it is a new one for every controller."""
    made = uuid7()
    folder(home).mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(folder(home) / "device.json", json.dumps({"device_id": made}).encode() + b"\n")
    return made


_FIELDS: dict[str, type[str] | type[int]] = {
    "state": str,
    "address": str,
    "entry_port": int,
    "ca_sha256": str,
    "catalog_sha256": str,
    "issued_ns": int,
    "expires_ns": int,
}
