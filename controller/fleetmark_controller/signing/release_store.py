"""The controller's catalog key, if it is on this host, and the current release.

Files in the home: `identity/catalog-key.json` (private; may be moved elsewhere),
`catalog-trust.json` (the public catalog key that devices pin, and its rotations so far) and
`release.json`.
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
from fleetmark_controller.store.security.releases import Reference, SigningStatus
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


class ReleaseStore:
    """Store of the catalog key and the release of one home. Not safe for concurrent use."""

    def __init__(
        self, home: Path, blobs: BlobFolder, life_s: float, elsewhere: str = "", *, make: bool
    ) -> None:
        """Read the keys and the release of a home.

        Args:
            home: The controller's home.
            blobs: Blob store that receives the releases.
            life_s: Seconds for which a new release is valid.
            elsewhere: Public key of a catalog key that is kept on another machine.
            make: Create a catalog key if the home has none.

        Raises:
            FleetmarkError: CONFIGURATION: a file is damaged or missing, or `elsewhere` is not a
                public key.
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
            keyfile.write(self._key_file, keyfile.create_key())
        if not self.public and self._key_file.exists():
            key = keyfile.read(self._key_file)
            self._trust(key.public, key.rotations)
        self._catch_up()
        self.envelope: Envelope | None = None
        self.release: Release | None = None
        self.reference: Reference | None = None
        self._checked: dict[str, str] = {}  # by digest: why this release lacks a lockfile
        self._read_release()

    @property
    def fingerprint(self) -> str:
        """The fingerprint that devices pin; empty if there is no catalog key."""
        return signing.fingerprint(self.public) if self.public else ""

    def key(self) -> CatalogKey | None:
        """Return the private catalog key; None if it is not on this host."""
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
        """Return a proposal of the next release; see `release_builder.propose`."""
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
        """Return whether a new release is needed.

        That is so if the current one lacks a target of the proposal, is signed by an older key, or
        has passed two thirds of its lifetime.
        """
        if self.release is None or not release_builder.covers(self.release, proposal):
            return True
        if self.envelope is not None and self.envelope.key != self.public:
            return True  # an interrupted rotation: devices that enroll now pin only the new key
        life_s = self.release.expires_unix_s - self.release.made_unix_s
        return now_s > self.release.made_unix_s + life_s * _RENEW_AFTER

    def sign(self, proposal: Release) -> Release:
        """Sign a proposal with the catalog key on this host, and install it.

        Raises:
            FleetmarkError: NO_CATALOG_KEY.
            OSError: the release cannot be stored.
        """
        key = self.key()
        if key is None:
            raise FleetmarkError(
                ErrorKind.NO_CATALOG_KEY,
                "this host has no catalog key",
                "",
                "Run `controller catalog release sign --key FILE` on the host that has it",
            )
        return self.install(seal_release(proposal, key.private, key.rotations).canonical())

    def install(self, data: bytes) -> Release:
        """Install a signed release. Its key must be the trusted one, or follow it by rotation.

        Raises:
            FleetmarkError: the release is not signed by that key, not newer than the current one,
                or damaged.
            OSError: the release cannot be stored.
        """
        envelope = parse_envelope(data)
        if not self.public:
            raise FleetmarkError(ErrorKind.FOREIGN_KEY, "this controller trusts no catalog key yet")
        release, _ = envelope.open(self.fingerprint)
        if self.release is not None and release.version <= self.release.version:
            raise FleetmarkError(
                ErrorKind.ROLLED_BACK,
                f"release {release.version} is not newer than current release "
                f"{self.release.version}",
            )
        if envelope.key != self.public:
            self._trust(envelope.key, envelope.rotations)
        self._blobs.put_bytes(data)
        write_atomic(self._release_file, data)
        self._take(envelope, release, data)
        return release

    def rotate(self) -> CatalogKey:
        """Replace the catalog key on this host by a successor, and return the successor.

        The caller must sign a release with it next.

        Raises:
            FleetmarkError: NO_CATALOG_KEY.
            OSError: the key cannot be stored.
        """
        key = self.key()
        if key is None:
            raise FleetmarkError(
                ErrorKind.NO_CATALOG_KEY,
                "this host has no catalog key",
                "",
                "Run `controller catalog key rotate --key FILE --out NEW` on the host that has it",
            )
        successor = key.successor()
        keyfile.write(self._key_file, successor, replace=True)
        self._trust(successor.public, successor.rotations)
        return successor

    def fault(self, now_s: int) -> str:
        """Return why no order can be issued now; empty if orders can be issued."""
        if self.release is None:
            return "no signed release exists yet"
        if self.release.expires_unix_s <= now_s:
            return f"release {self.release.version} has expired"
        return ""

    def signing_status(self, now_s: int) -> SigningStatus:
        """Return the release under which orders can be issued now, or why there is none."""
        return SigningStatus(self.reference, self.fault(now_s))

    def missing_from(self, lock: bytes) -> str:
        """Return why a lockfile does not follow from the release; empty if it does."""
        if self.release is None:
            return "no signed release exists yet"
        digest = sha256_hex(lock)
        if digest not in self._checked:
            if len(self._checked) >= _MOST_CHECKED:
                self._checked.clear()
            self._checked[digest] = release_builder.missing_from(self.release, lock)
        return self._checked[digest]

    def cached_missing(self, digests: Collection[str]) -> dict[str, str] | None:
        """Return the results of `lacks` for lockfiles given by digest.

        Returns:
            None unless `lacks` has checked all of them under the current release.
        """
        if any(digest not in self._checked for digest in digests):
            return None
        return {digest: self._checked[digest] for digest in digests}

    # --- files ---

    def _catch_up(self) -> None:
        """Finish an interrupted rotation: trust the key on this host if it follows the trusted one.

        Raises:
            FleetmarkError: CONFIGURATION: the key's file is damaged.
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
            # After an interrupted rotation, the release is still signed by the previous key.
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
            "Remove it and create a new one with `controller catalog release sign`",
        )

    def _take(self, envelope: Envelope, release: Release, data: bytes) -> None:
        self.envelope, self.release, self._checked = envelope, release, {}
        self.reference = Reference(release.version, sha256_hex(data), len(data))


def lost_trust_error(path: Path) -> FleetmarkError:
    """Return the error for a home that has a release, but neither its catalog key nor its trust."""
    return FleetmarkError(
        ErrorKind.CONFIGURATION,
        "it is missing; devices would refuse the releases of a new catalog key",
        str(path),
        "Restore it from a backup",
    )


def key_file(home: Path) -> Path:
    """Return the path of the catalog key in a controller's home, unless it is kept elsewhere."""
    return home / FOLDER / "catalog-key.json"


def _check_public(text: str) -> None:
    try:
        signing.fingerprint(text)
    except FleetmarkError as error:
        raise FleetmarkError(
            ErrorKind.CONFIGURATION,
            f"catalog_key is not a valid public key: {error.what}",
            next_step="`controller catalog key show --key FILE` prints it",
        ) from error
