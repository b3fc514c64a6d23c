"""A controller's catalog key, if it is at hand, and the release that its orders name.

In the home: `identity/catalog-key.json` (private; may be taken away), `catalog-trust.json` (which
catalog key boards are told to trust, and the rotations so far) and `release.json`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from fleetmark_catalog.load import Catalog
from fleetmark_catalog.load.model import WheelFile
from fleetmark_controller.home.credential_files import FOLDER
from fleetmark_controller.signing import key_file as keyfile
from fleetmark_controller.signing import release_builder
from fleetmark_controller.signing.key_file import CatalogKey
from fleetmark_controller.store.security.releases import Reference, Standing
from fleetmark_core import signing
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_hex
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import BlobRef
from fleetmark_core.regular_file import read_regular
from fleetmark_core.release import (
    MAX_RELEASE_BYTES,
    Envelope,
    Release,
    Rotation,
    parse_envelope,
    seal_release,
)

_RENEW_AFTER = 2 / 3
_MOST_CHECKED = 10_000
_MAX_TRUST_BYTES = 1 << 20


class Keeper:
    """Keys and release of one home. One caller at a time."""

    def __init__(
        self, home: Path, blobs: BlobFolder, life_s: float, elsewhere: str = "", *, make: bool
    ) -> None:
        """Read what the home has. With `make`, a home without any catalog key gets one.

        `elsewhere` is the public key of a catalog key that is kept on another machine.

        Raises:
            FleetmarkError: CONFIGURATION: a file is damaged, or `elsewhere` is no key.
            OSError: the home cannot be read or written.
        """
        self._blobs = blobs
        self._life_s = int(life_s)
        self._key_file = key_file(home)
        self._trust_file = home / "catalog-trust.json"
        self._release_file = home / "release.json"
        self.public, self.rotations = self._read_trust()
        if elsewhere and not self.public:
            _check_public(elsewhere)
            self._trust(elsewhere, ())
        if not self.public and make and not self._key_file.exists():
            if self._release_file.exists():
                raise lost_trust_error(self._trust_file)
            keyfile.write(self._key_file, keyfile.make())
        if not self.public and self._key_file.exists():
            key = keyfile.read(self._key_file)
            self._trust(key.public, key.rotations)
        self._catch_up()
        self.envelope: Envelope | None = None
        self.release: Release | None = None
        self.reference: Reference | None = None
        self._checked: dict[str, str] = {}  # by lock: what of it this release lacks
        self._read_release()

    @property
    def fingerprint(self) -> str:
        """What boards are told to trust; empty if there is no catalog key."""
        return signing.fingerprint(self.public) if self.public else ""

    def key(self) -> CatalogKey | None:
        """The private catalog key, if it is at hand."""
        if not self._key_file.exists():
            return None
        key = keyfile.read(self._key_file)
        return key if key.public == self.public else None

    def proposal(
        self,
        catalog: Catalog,
        harness: BlobRef,
        built: Mapping[str, WheelFile],
        needed: Iterable[bytes],
        now_s: int,
    ) -> Release:
        """What the next release should hold."""
        return release_builder.propose(
            catalog,
            harness,
            built,
            now_s=now_s,
            life_s=self._life_s,
            last=self.release,
            needed=needed,
        )

    def is_due(self, proposal: Release, now_s: int) -> bool:
        """Whether the release lacks something of a proposal, or has grown old."""
        if self.release is None or not release_builder.holds(self.release, proposal):
            return True
        if self.envelope is not None and self.envelope.key != self.public:
            return True  # a rotation was cut short: boards that join now trust the new key alone
        life_s = self.release.expires_unix_s - self.release.made_unix_s
        return now_s > self.release.made_unix_s + life_s * _RENEW_AFTER

    def sign(self, proposal: Release) -> Release:
        """Make a proposal the release, by the key at hand.

        Raises:
            FleetmarkError: NO_CATALOG_KEY.
            OSError: it cannot be stored.
        """
        key = self.key()
        if key is None:
            raise FleetmarkError(
                ErrorKind.NO_CATALOG_KEY,
                "the catalog key is not on this host",
                "",
                "Run `controller catalog release --key FILE` where it is",
            )
        return self.install(seal_release(proposal, key.private, key.rotations).canonical())

    def install(self, data: bytes) -> Release:
        """Take a signed release; its key is the one that is trusted, or follows it by rotation.

        Raises:
            FleetmarkError: it is not signed by that key, older than the release here, or damaged.
            OSError: it cannot be stored.
        """
        envelope = parse_envelope(data)
        if not self.public:
            raise FleetmarkError(ErrorKind.FOREIGN_KEY, "this controller trusts no catalog key yet")
        release, _ = envelope.open(self.fingerprint)
        if self.release is not None and release.serial <= self.release.serial:
            raise FleetmarkError(
                ErrorKind.ROLLED_BACK,
                f"release {release.serial} is not newer than {self.release.serial}, which is here",
            )
        if envelope.key != self.public:
            self._trust(envelope.key, envelope.rotations)
        self._blobs.put_bytes(data)
        write_atomic(self._release_file, data)
        self._take(envelope, release, data)
        return release

    def rotate(self) -> CatalogKey:
        """A successor of the key at hand, stored in its place. Sign a release with it next.

        Raises:
            FleetmarkError: NO_CATALOG_KEY.
            OSError: it cannot be stored.
        """
        key = self.key()
        if key is None:
            raise FleetmarkError(
                ErrorKind.NO_CATALOG_KEY,
                "the catalog key is not on this host",
                "",
                "Run `controller catalog key rotate --key FILE --out NEW` where it is",
            )
        successor = key.successor()
        keyfile.write(self._key_file, successor, replace=True)
        self._trust(successor.public, successor.rotations)
        return successor

    def fault(self, now_s: int) -> str:
        """Why no order can be given just now; empty if nothing is wrong."""
        if self.release is None:
            return "there is no signed release yet"
        if self.release.expires_unix_s <= now_s:
            return f"release {self.release.serial} has expired"
        return ""

    def standing(self, now_s: int) -> Standing:
        """What orders can be given under now."""
        return Standing(self.reference, self.fault(now_s))

    def lacks(self, lock: bytes) -> str:
        """What of a lock is not in the release; empty if all is."""
        if self.release is None:
            return "there is no signed release yet"
        digest = sha256_hex(lock)
        if digest not in self._checked:
            if len(self._checked) >= _MOST_CHECKED:
                self._checked.clear()
            self._checked[digest] = release_builder.lacks(self.release, lock)
        return self._checked[digest]

    def known_lacks(self, digests: Collection[str]) -> dict[str, str] | None:
        """The same of locks by their digests, where each was looked at under this release."""
        if any(digest not in self._checked for digest in digests):
            return None
        return {digest: self._checked[digest] for digest in digests}

    # --- files ---

    def _catch_up(self) -> None:
        """Trust the key at hand, if it follows the one that was trusted: a rotation was cut short.

        Raises:
            FleetmarkError: CONFIGURATION: its file is damaged.
        """
        if self.public and self._key_file.exists():
            key = keyfile.read(self._key_file)
            if any(rotation.old == self.public for rotation in key.rotations):
                for rotation in key.rotations:
                    rotation.check()
                self._trust(key.public, key.rotations)

    def _read_trust(self) -> tuple[str, tuple[Rotation, ...]]:
        try:
            values = parse_json(read_regular(self._trust_file, _MAX_TRUST_BYTES))
            _check_public(values["public"])
            return values["public"], tuple(Rotation(**each) for each in values["rotations"])
        except FileNotFoundError:
            return "", ()
        except (ValueError, KeyError, TypeError) as error:
            raise FleetmarkError(
                ErrorKind.CONFIGURATION,
                f"it is damaged: {error}",
                str(self._trust_file),
                "Restore it from a backup",
            ) from error

    def _trust(self, public: str, rotations: tuple[Rotation, ...]) -> None:
        values = {"public": public, "rotations": [vars(rotation) for rotation in rotations]}
        write_atomic(self._trust_file, json.dumps(values, indent=1).encode() + b"\n")
        self.public, self.rotations = public, rotations

    def _read_release(self) -> None:
        try:
            data = read_regular(self._release_file, MAX_RELEASE_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._bad_release_error(f"cannot be read: {error.strerror or error}") from error
        try:
            envelope = parse_envelope(data)
            # After a rotation that a crash cut short, the release is still of the key before.
            keys = [self.public, *(rotation.old for rotation in self.rotations)]
            pinned = envelope.key if envelope.key in keys else self.public
            release, _ = envelope.open(signing.fingerprint(pinned))
        except FleetmarkError as error:
            raise self._bad_release_error(f"is damaged: {error.what}") from error
        self._blobs.put_bytes(data)
        self._take(envelope, release, data)

    def _bad_release_error(self, fault: str) -> FleetmarkError:
        return FleetmarkError(
            ErrorKind.CONFIGURATION,
            f"the release {fault}",
            str(self._release_file),
            "Remove it, and make a new one with `controller catalog release`",
        )

    def _take(self, envelope: Envelope, release: Release, data: bytes) -> None:
        self.envelope, self.release, self._checked = envelope, release, {}
        self.reference = Reference(release.serial, sha256_hex(data), len(data))


def lost_trust_error(path: Path) -> FleetmarkError:
    """Return the error for a home that has a release, but neither its catalog key nor its trust."""
    return FleetmarkError(
        ErrorKind.CONFIGURATION,
        "it is missing; devices would refuse the releases of a new catalog key",
        str(path),
        "Restore it from a backup",
    )


def key_file(home: Path) -> Path:
    """Where a controller's home has its catalog key, unless that is kept elsewhere."""
    return home / FOLDER / "catalog-key.json"


def _check_public(text: str) -> None:
    try:
        signing.fingerprint(text)
    except FleetmarkError as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            f"catalog_key is no public key: {error.what}",
            next_step="`controller catalog key show --key FILE` prints it",
        ) from error
