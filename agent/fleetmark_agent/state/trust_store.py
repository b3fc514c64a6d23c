"""What this board trusts: a catalog key, the newest release that it saw, the controller's time.

It stands in the home's `identity/trust.json` and never goes back. It loads no cryptography: keys
and signatures are looked at by a helper process (`fleetmark_agent.helpers.verify_order`).
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

SIGNED = "signed.v1"
"""The feature by which both sides say that orders are signed."""
_FILE = "trust.json"
_NOTE_EVERY_S = 3600
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Trust:
    """What is held on to for one controller.

    `pinned_sha256` is the fingerprint of the catalog key that came with the join token,
    `catalog_sha256` that of the newest key that it led to; empty: none yet. `serial` is the highest
    of a release that was seen, `release_sha256` its digest. Times are unix seconds.
    """

    ca_sha256: str
    pinned_sha256: str = ""
    catalog_sha256: str = ""
    serial: int = 0
    release_sha256: str = ""
    controller_unix_s: int = 0

    def now_unix_s(self) -> int:
        """The later of the board's clock and the last time that the controller told."""
        return max(int(time.time()), self.controller_unix_s)


class TrustStore:
    """The trust of one home."""

    def __init__(self, home: Path) -> None:
        """Nothing is read before it is asked for."""
        self._home = home
        self._path = identity.folder(home) / _FILE

    @property
    def ca_file(self) -> Path:
        """The CA certificate of the board's controller."""
        return identity.folder(self._home) / identity.CA

    def load(self) -> Trust:
        """What is trusted now. Another controller than before begins anew.

        Raises:
            FleetmarkError: CONFIGURATION: the file is damaged. It is not replaced: an older release
                could slip in.
            OSError: it cannot be read.
        """
        enrolment = identity.load_enrolment(self._home)
        fresh = Trust("")
        if enrolment is not None:
            pinned = enrolment.catalog_sha256
            fresh = Trust(enrolment.ca_sha256, pinned, pinned)
        try:
            stored = Trust(**parse_json(read_regular(self._path, _MAX_BYTES)))
        except FileNotFoundError:
            return fresh
        except (ValueError, TypeError, RecursionError) as error:
            raise FleetmarkError(
                ErrorKind.CONFIGURATION,
                "it is damaged",
                str(self._path),
                "Remove it; the board then takes any release that has not expired",
            ) from error
        if stored.ca_sha256 != fresh.ca_sha256 and fresh.ca_sha256:
            return fresh
        if fresh.pinned_sha256 and stored.pinned_sha256 != fresh.pinned_sha256:
            # A person gave the board a token with another catalog key.
            return replace(fresh, controller_unix_s=stored.controller_unix_s)
        return stored

    def followed(self, catalog_sha256: str, serial: int, release_sha256: str) -> None:
        """An order under this release was found valid.

        Raises:
            OSError: it cannot be made durable; then the order must not be followed.
        """
        before = self.load()
        after = replace(
            before, catalog_sha256=catalog_sha256, serial=serial, release_sha256=release_sha256
        )
        if after != before:
            self._save(after)

    def heard(self, controller_unix_s: int, catalog_sha256: str = "") -> bool:
        """The board's own controller told its time and its catalog key; True if that was pinned.

        A board that joined before there was a catalog key takes the first that it hears of.

        Raises:
            OSError: it cannot be stored.
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
        """Trust these keys, as a person says who is at the board.

        Raises:
            FleetmarkError: UNTRUSTED: the board trusts others already.
            OSError: it cannot be stored.
        """
        before = self.load()
        if before.ca_sha256 not in ("", ca_sha256):
            raise FleetmarkError(
                ErrorKind.UNTRUSTED,
                "this board belongs to another controller",
                str(self._path),
                "Choose another --home",
            )
        if not self.ca_file.exists():
            write_atomic(self.ca_file, ca)
        if not before.catalog_sha256:
            self._save(Trust(ca_sha256, catalog_sha256, catalog_sha256))

    def _save(self, trust: Trust) -> None:
        write_atomic(self._path, json.dumps(asdict(trust), indent=1).encode() + b"\n")
