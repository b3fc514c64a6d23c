"""The trust anchors of this device: catalog key, newest release seen, controller time.

They are stored in the home's `identity/trust.json` and never roll back. This module loads no
cryptography: the helper process `fleetmark_agent.helpers.verify_order` verifies keys and
signatures.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fleetmark_agent.state import identity
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular
from fleetmark_core.shared_repr import SharedRepr

SIGNED = "signed.v1"
"""Feature flag by which both sides announce that orders are signed."""
_FILE = "trust.json"
_NOTE_EVERY_S = 3600
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, repr=False)
class Trust(SharedRepr):
    """Trust anchors for one controller.

    `pinned_sha256` is the fingerprint of the catalog key from the enrollment token.
    `catalog_sha256` is the fingerprint of the newest key that the pinned key has delegated to. Both
    are empty while unknown. `serial` is the highest release serial seen, and `release_sha256` the
    digest of that release. Times are unix seconds.
    """

    ca_sha256: str
    pinned_sha256: str = ""
    catalog_sha256: str = ""
    serial: int = 0
    release_sha256: str = ""
    controller_unix_s: int = 0

    def now_unix_s(self) -> int:
        """Return the later of the device's clock and the last stored controller time."""
        return max(int(time.time()), self.controller_unix_s)


class TrustStore:
    """Stored trust anchors of one home."""

    def __init__(self, home: Path) -> None:
        """Set the paths; files are read on demand."""
        self._home = home
        self._path = identity.folder(home) / _FILE

    @property
    def ca_file(self) -> Path:
        """Path of the CA certificate of the device's controller."""
        return identity.folder(self._home) / identity.CA

    def load(self) -> Trust:
        """Return the stored trust anchors; start fresh if the controller is a different one.

        Raises:
            FleetmarkError: CONFIGURATION: the file is damaged. It is not replaced, because a
                rollback to an older release would then be possible.
            OSError: the file cannot be read.
        """
        enrollment = identity.load_enrollment(self._home)
        fresh = Trust("")
        if enrollment is not None:
            pinned = enrollment.catalog_sha256
            fresh = Trust(enrollment.ca_sha256, pinned, pinned)
        try:
            stored = Trust(**parse_json(read_regular(self._path, _MAX_BYTES)))
        except FileNotFoundError:
            return fresh
        except (ValueError, TypeError, RecursionError) as error:
            raise FleetmarkError(
                ErrorKind.CONFIGURATION,
                "the trust file is damaged",
                str(self._path),
                "Remove it; the device then accepts any release that has not expired",
            ) from error
        if stored.ca_sha256 != fresh.ca_sha256 and fresh.ca_sha256:
            return fresh
        if fresh.pinned_sha256 and stored.pinned_sha256 != fresh.pinned_sha256:
            # The operator used a token with another catalog key.
            return replace(fresh, controller_unix_s=stored.controller_unix_s)
        return stored

    def record_verified_release(
        self, catalog_sha256: str, serial: int, release_sha256: str
    ) -> None:
        """Store the catalog key and release of an order that was verified.

        Raises:
            OSError: the file cannot be stored durably; the order must then not be executed.
        """
        before = self.load()
        after = replace(
            before, catalog_sha256=catalog_sha256, serial=serial, release_sha256=release_sha256
        )
        if after != before:
            self._save(after)

    def record_controller_time(self, controller_unix_s: int, catalog_sha256: str = "") -> bool:
        """Store the time and catalog key that the device's own controller sent.

        A device that enrolled before a catalog key existed pins the first one that its controller
        sends. The time is stored at most once per hour.

        Returns:
            Whether the catalog key was pinned by this call.

        Raises:
            OSError: the file cannot be stored.
        """
        before = self.load()
        after = before
        if catalog_sha256 and not before.catalog_sha256 and before.ca_sha256:
            after = replace(after, catalog_sha256=catalog_sha256)
        if controller_unix_s > before.controller_unix_s + _NOTE_EVERY_S or after != before:
            after = replace(
                after, controller_unix_s=max(controller_unix_s, before.controller_unix_s)
            )
            self._save(after)
        return after.catalog_sha256 != before.catalog_sha256

    def pin(self, ca: bytes, ca_sha256: str, catalog_sha256: str) -> None:
        """Trust the keys that the operator gave on this device.

        A CA certificate and a catalog key that are already stored are kept.

        Raises:
            FleetmarkError: UNTRUSTED: the device belongs to another controller.
            OSError: the file cannot be stored.
        """
        before = self.load()
        if before.ca_sha256 not in ("", ca_sha256):
            raise FleetmarkError(
                ErrorKind.UNTRUSTED,
                "this device is enrolled with another controller",
                str(self._path),
                "Choose another --home",
            )
        if not self.ca_file.exists():
            write_atomic(self.ca_file, ca)
        if not before.catalog_sha256:
            self._save(Trust(ca_sha256, catalog_sha256, catalog_sha256))

    def _save(self, trust: Trust) -> None:
        write_atomic(self._path, json.dumps(asdict(trust), indent=1).encode() + b"\n")
