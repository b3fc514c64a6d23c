"""Files of credentials, and where they lie in a controller's home."""

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
    """What a person's CLI needs to be heard: PEM texts, and where the controller listens."""

    address: str
    ca: str
    certificate: str
    key: str
    name: str
    role: str


def write_credentials(path: Path, credentials: Credentials) -> None:
    """A credentials file, readable by its owner alone.

    Raises:
        OSError: it cannot be written.
    """
    write_atomic(
        path, json.dumps({"version": 1, **asdict(credentials)}, indent=1).encode(), private=True
    )


def read_credentials(path: Path) -> Credentials:
    """A credentials file.

    Raises:
        FleetmarkError: CONFIGURATION: it cannot be read, or is none.
    """
    try:
        values = parse_json(read_regular(path, _MAX_BYTES))
        names = Credentials.__dataclass_fields__
        return Credentials(**{name: str(values[name]) for name in names})
    except OSError as error:
        what = error.strerror or str(error)
    except (ValueError, KeyError, TypeError):
        what = "this is not a credentials file"
    raise FleetmarkError(
        ErrorKind.CONFIGURATION, what, str(path), "Make one with `controller operator create`"
    )


def admin_file(home: Path) -> Path:
    """Where a controller leaves the credential for its own host."""
    return home / FOLDER / _CREDENTIALS_FILE
