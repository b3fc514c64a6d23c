"""The file of a catalog key: the private key, and the rotations that lead to it.

This file is all that a machine needs to sign releases. By default it is in the controller's home,
but it may be on another machine.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fleetmark_core import signing
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular
from fleetmark_core.release import Rotation, rotate

_FORMAT = 1
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class CatalogKey:
    """A catalog key with its private part (PEM) and the rotations that lead to it."""

    private: bytes
    rotations: tuple[Rotation, ...] = ()

    @property
    def public(self) -> str:
        """The public key, in hexadecimal."""
        return signing.public_key(self.private)

    @property
    def fingerprint(self) -> str:
        """The fingerprint that devices pin."""
        return signing.fingerprint(self.public)

    def successor(self) -> CatalogKey:
        """Return a new key that continues this key's rotations."""
        made = signing.make_signing_key()
        return CatalogKey(made, (*self.rotations, rotate(self.private, made)))


def create_key() -> CatalogKey:
    """Return a new key without predecessors."""
    return CatalogKey(signing.make_signing_key())


def write(path: Path, key: CatalogKey, *, replace: bool = False) -> None:
    """Write a key to a file that only its owner can read.

    Raises:
        FleetmarkError: USAGE: the file exists and `replace` is false.
        OSError: the file cannot be written.
    """
    if path.exists() and not replace:
        raise FleetmarkError(
            ErrorKind.USAGE, "the file already exists", str(path), "Give another path with --out"
        )
    values = {
        "format": _FORMAT,
        "private": key.private.decode(),
        "rotations": [vars(rotation) for rotation in key.rotations],
    }
    write_atomic(path, json.dumps(values, indent=1).encode() + b"\n", private=True)


def read(path: Path) -> CatalogKey:
    """Read a key from its file.

    Raises:
        FleetmarkError: CONFIGURATION: the file cannot be read, or is not a catalog key.
    """
    try:
        values = parse_json(read_regular(path, _MAX_BYTES))
        rotations = tuple(Rotation(**rotation) for rotation in values["rotations"])
        key = CatalogKey(values["private"].encode(), rotations)
        if rotations and rotations[-1].new != key.public:
            raise ValueError("its rotations end at another key")
    except OSError as error:
        what = error.strerror or str(error)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"it is not a valid catalog key: {error}"
    else:
        return key
    raise FleetmarkError(
        ErrorKind.CONFIGURATION,
        what,
        str(path),
        "Restore it from a backup; devices do not trust a new key from"
        " `controller catalog key create`",
    )
