"""Credentials files, and their location in a controller's home."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular

FOLDER = "identity"
CA = "ca.pem"
_CREDENTIALS_FILE = "admin.json"

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Credentials:
    """The credentials of an operator's CLI: PEM texts, and the address of the controller."""

    address: str
    ca: str
    certificate: str
    key: str
    name: str
    role: str


def write_credentials(path: Path, credentials: Credentials) -> None:
    """Write a credentials file that only its owner can read.

    Raises:
        OSError: the file cannot be written.
    """
    write_atomic(
        path, json.dumps({"version": 1, **asdict(credentials)}, indent=1).encode(), private=True
    )


def read_credentials(path: Path) -> Credentials:
    """Read a credentials file.

    Raises:
        FleetmarkError: CONFIGURATION: the file cannot be read, or is not a credentials file.
    """
    try:
        values = parse_json(read_regular(path, _MAX_BYTES))
        names = Credentials.__dataclass_fields__
        return Credentials(**{name: str(values[name]) for name in names})
    except OSError as error:
        what = error.strerror or str(error)
    except (ValueError, KeyError, TypeError):
        what = "the file is not a valid credentials file"
    raise FleetmarkError(
        ErrorKind.CONFIGURATION, what, str(path), "Create one with `controller operator create`"
    )


def admin_file(home: Path) -> Path:
    """Return the path of the credentials file that the controller writes for its own host."""
    return home / FOLDER / _CREDENTIALS_FILE
