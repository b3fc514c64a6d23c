"""The device's identity: its permanent id, its private key and its enrollment with a controller.

The files are in the home's `identity/`, readable by the owner only. The helper process
`fleetmark_agent.helpers.enroll` creates and renews key and certificate; this module loads no
cryptography.
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
from fleetmark_core.shared_repr import SharedRepr

PENDING, ACTIVE = "pending", "active"
KEY, CA, CERTIFICATE = "key.pem", "ca.pem", "certificate.pem"
_STATE = "enrolment.json"
_STATE_BYTES = 1 << 20
_PEM_BYTES = 1024 * 1024
_PEM = re.compile(rb"-----BEGIN ([A-Z ]+)-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END \1-----")
_RENEW_AFTER = 2 / 3
_FIELDS: dict[str, type[str] | type[int]] = {
    "state": str,
    "address": str,
    "entry_port": int,
    "ca_sha256": str,
    "catalog_sha256": str,
    "issued_ns": int,
    "expires_ns": int,
}


@dataclass(frozen=True, repr=False)
class Enrollment(SharedRepr):
    """State of the enrollment with the controller that this device belongs to or has applied to.

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
        """Time at which the certificate is due for renewal, in unix nanoseconds."""
        return self.issued_ns + int((self.expires_ns - self.issued_ns) * _RENEW_AFTER)


@dataclass(frozen=True, repr=False)
class Tls(SharedRepr):
    """PEM texts for mutual TLS."""

    ca: bytes
    key: bytes
    certificate: bytes


def folder(home: Path) -> Path:
    """Return the folder of the identity files."""
    return home / "identity"


def load_enrollment(home: Path) -> Enrollment | None:
    """Return the stored enrollment, or None if this device never requested one.

    Raises:
        FleetmarkError: the file is damaged.
        OSError: the file cannot be read.
    """
    path = folder(home) / _STATE
    try:
        values = parse_json(read_regular(path, _STATE_BYTES))
        checked: dict[str, Any] = {name: kind(values[name]) for name, kind in _FIELDS.items()}
        return Enrollment(**checked, name=str(values.get("name", "")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            "the enrollment file is damaged",
            str(path),
            "Remove it, and start the agent with an enrollment token",
        ) from error


def save_enrollment(home: Path, enrollment: Enrollment) -> None:
    """Store the enrollment atomically."""
    write_atomic(folder(home) / _STATE, json.dumps(asdict(enrollment), indent=1).encode() + b"\n")


def load_tls(home: Path) -> Tls:
    """Read the key and certificates of an enrolled device.

    Raises:
        FleetmarkError: NOT_ENROLLED: the device never requested enrollment; CONFIGURATION: a file
            is missing, damaged or unreadable.
    """
    place = folder(home)
    try:
        return Tls(*(_pem(place / name) for name in (CA, KEY, CERTIFICATE)))
    except FileNotFoundError as error:
        if not (place / _STATE).exists():
            raise not_enrolled_error(str(place)) from error
        raise damaged_identity_error(Path(error.filename), "the file is missing") from error


def _pem(path: Path) -> bytes:
    """Read a PEM file and verify that each block is complete.

    gRPC aborts the process for an empty key or certificate, trusts public CAs if the CA file is
    empty, and reports other damage as an unreachable address.
    """
    try:
        text = read_regular(path, _PEM_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise damaged_identity_error(path, error.strerror or "the file cannot be read") from error
    blocks = _PEM.findall(text)
    if not blocks or not all(map(_is_der, blocks)):
        raise damaged_identity_error(
            path, "the file is empty" if not text else "the file is damaged"
        )
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
    """Return the error for an identity file that cannot be used."""
    return FleetmarkError(
        ErrorKind.CONFIGURATION,
        what,
        str(path),
        "Restore the file. Or remove the folder identity/ and start the agent with an enrollment"
        " token; the controller then sees a new device",
    )


def protect_identity(home: Path) -> list[str]:
    """Revoke other users' access to the key and the home.

    Returns:
        One line per changed file or folder.

    Raises:
        FleetmarkError: CONFIGURATION: a mode cannot be changed.
    """
    from fleetmark_core.private_files import protect_files, protect_folders

    place = folder(home)
    return [*protect_folders((home, place)), *protect_files((place / KEY,))]


def lost_enrollment_error(home: Path) -> FleetmarkError:
    """Return the error for a device without enrollment: it is new, or its file is missing."""
    if not (folder(home) / CERTIFICATE).exists():
        return not_enrolled_error(str(home))
    what = "the file is missing, although this device has a certificate"
    return damaged_identity_error(folder(home) / _STATE, what)


def not_enrolled_error(where: str) -> FleetmarkError:
    """Return the error for a device without an identity."""
    return FleetmarkError(
        ErrorKind.NOT_ENROLLED,
        "this device is not enrolled with a controller",
        where,
        "Create an enrollment token with `controller token create`, and start the agent with it",
    )


def device_id(home: Path) -> str:
    """Return the device id; create one in a new home.

    Raises:
        FleetmarkError: the file is damaged, or is missing although the device requested enrollment.
            It is not replaced, because the controller would see another device.
        OSError: the home cannot be read or written.
    """
    import uuid  # called once, before the agent idles

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
            "the file does not contain a device id",
            str(path),
            "Restore the file; or remove it, and the controller sees a new device",
        ) from error


def new_device_id(home: Path) -> str:
    """Store and return a new device id; controllers then see a new device."""
    made = uuid7()
    folder(home).mkdir(parents=True, exist_ok=True, mode=0o700)
    write_atomic(folder(home) / "device.json", json.dumps({"device_id": made}).encode() + b"\n")
    return made
