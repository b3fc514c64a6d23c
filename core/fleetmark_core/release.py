"""Releases: signed lists of everything that may run, and the chain of keys that sign them.

A release is transferred as an *envelope*: the release's canonical JSON as a text, the public key,
the signature, and the rotations that lead from any earlier catalog key to this one. Each rotation
is signed by the old key, so that a device that pinned the old key can follow it, and by the new
key, which proves possession of the new key.

The words are TUF's where the concept is: the *root* of trust is the fingerprint of a catalog key, a
release lists *targets* and has a *version* and the time when it *expires*. The *threshold* of
signatures is one for a release, and two of two for a rotation. docs/adr/0011 says why the files are
not TUF's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fleetmark_core import signing
from fleetmark_core.digest import canonical_json
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError

RELEASE_FORMAT = 1
MAX_RELEASE_BYTES = 16 * 1024 * 1024
_MAX_ROTATIONS = 1000


@dataclass(frozen=True)
class Rotation:
    """A statement that one catalog key replaces another, signed by both keys."""

    old: str
    new: str
    by_old: str
    by_new: str

    @staticmethod
    def statement(old: str, new: str) -> bytes:
        """Return the bytes that both keys sign."""
        return canonical_json({"format": RELEASE_FORMAT, "old": old, "new": new})

    def check(self) -> None:
        """Verify that both keys signed this rotation.

        Raises:
            FleetmarkError: BAD_SIGNATURE: one of the signatures is not valid. BAD_DOCUMENT: a key
                or signature is malformed.
        """
        statement = self.statement(self.old, self.new)
        for name, key, signature in (
            ("the old key", self.old, self.by_old),
            ("the new key", self.new, self.by_new),
        ):
            if not signing.verify(signing.ROTATION, statement, signature, key):
                raise FleetmarkError(
                    ErrorKind.BAD_SIGNATURE,
                    f"a rotation of the catalog key is not signed by {name}",
                )


def rotate(old_pem: bytes, new_pem: bytes) -> Rotation:
    """Return the rotation from one key to another, signed by both."""
    old, new = signing.public_key(old_pem), signing.public_key(new_pem)
    statement = Rotation.statement(old, new)
    return Rotation(
        old,
        new,
        signing.sign(signing.ROTATION, statement, old_pem),
        signing.sign(signing.ROTATION, statement, new_pem),
    )


@dataclass(frozen=True)
class Release:
    """A signed list of everything that may run.

    In TUF's words, `components`, `harnesses` and `built` are its targets: `components` are
    definitions (see `fleetmark_catalog.load.release_definitions`), the others are wheels as [name,
    sha256, size]. `version` rises with each release; in signed bytes it is called `serial`. Times
    are Unix seconds.
    """

    version: int
    made_unix_s: int
    expires_unix_s: int
    components: tuple[dict[str, Any], ...]
    harnesses: tuple[tuple[str, str, int], ...]
    built: tuple[tuple[str, str, int], ...]

    def canonical(self) -> bytes:
        """Return the canonical bytes, which are signed."""
        return canonical_json(
            {
                "format": RELEASE_FORMAT,
                "serial": self.version,
                "made_unix_s": self.made_unix_s,
                "expires_unix_s": self.expires_unix_s,
                "components": list(self.components),
                "harnesses": [list(blob) for blob in self.harnesses],
                "built": [list(blob) for blob in self.built],
            }
        )

    @cached_property
    def by_id(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Definitions by kind, name and sha256."""
        return {(d["kind"], d["name"], d["sha256"]): d for d in self.components}


@dataclass(frozen=True)
class Envelope:
    """A release with its signature. `signed` is the release's bytes; nothing is verified yet."""

    signed: bytes
    key: str
    signature: str
    rotations: tuple[Rotation, ...] = ()

    def canonical(self) -> bytes:
        """Return the canonical bytes of the envelope; orders name their SHA-256."""
        return canonical_json(
            {
                "format": RELEASE_FORMAT,
                "signed": self.signed.decode(),
                "key": self.key,
                "signature": self.signature,
                "rotations": [vars(rotation) for rotation in self.rotations],
            }
        )

    def leads_from(self, root: str) -> tuple[str, ...]:
        """Return the fingerprints of all keys from the trusted `root` to the release's key.

        Raises:
            FleetmarkError: FOREIGN_KEY: no chain of rotations connects them; BAD_SIGNATURE: a
                rotation in the chain is forged.
        """
        path = [root]
        following = {signing.fingerprint(rotation.old): rotation for rotation in self.rotations}
        wanted = signing.fingerprint(self.key)
        while path[-1] != wanted:
            rotation = following.pop(path[-1], None)
            if rotation is None:
                raise FleetmarkError(
                    ErrorKind.FOREIGN_KEY,
                    f"the release is signed with catalog key {wanted[:16]}…, this device trusts "
                    f"{root[:16]}…, and no rotation connects the two keys",
                )
            rotation.check()
            path.append(signing.fingerprint(rotation.new))
        return tuple(path)

    def open(self, root: str) -> tuple[Release, tuple[str, ...]]:
        """Verify the release against the trusted root; return it and the chain of fingerprints.

        Args:
            root: The fingerprint of the catalog key that is trusted.

        Raises:
            FleetmarkError: FOREIGN_KEY, BAD_SIGNATURE, BAD_DOCUMENT.
        """
        path = self.leads_from(root)
        if not signing.verify(signing.RELEASE, self.signed, self.signature, self.key):
            raise FleetmarkError(
                ErrorKind.BAD_SIGNATURE, "the release does not match its signature"
            )
        return parse_release(self.signed), path


def seal_release(
    release: Release, key_pem: bytes, rotations: tuple[Rotation, ...] = ()
) -> Envelope:
    """Sign a release and return its envelope."""
    data = release.canonical()
    signature = signing.sign(signing.RELEASE, data, key_pem)
    return Envelope(data, signing.public_key(key_pem), signature, rotations)


def parse_envelope(data: bytes) -> Envelope:
    """Parse the envelope of a release without verifying a signature.

    Raises:
        FleetmarkError: UNSIGNED: the release has no envelope; BAD_DOCUMENT.
    """
    values = _object(data, "release")
    if "signature" not in values and "serial" in values:
        raise FleetmarkError(ErrorKind.UNSIGNED, "the release is not signed")
    try:
        rotations = values["rotations"]
        if len(rotations) > _MAX_ROTATIONS:
            raise ValueError(f"more than {_MAX_ROTATIONS} rotations")
        return Envelope(
            _text(values["signed"]).encode(),
            _text(values["key"]),
            _text(values["signature"]),
            tuple(
                Rotation(*(_text(r[name]) for name in ("old", "new", "by_old", "by_new")))
                for r in rotations
            ),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, f"it is not a valid signed release: {error}", "release"
        ) from error


def parse_release(data: bytes) -> Release:
    """Parse a release from the bytes that were signed.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    values = _object(data, "release")
    if values.get("format") != RELEASE_FORMAT:
        found = str(values.get("format"))[:40]
        what = f"format {found!r} is not supported: this version reads {RELEASE_FORMAT}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, "release", "Update this program")
    try:
        definitions = values["components"]
        for found in definitions:
            for name in ("kind", "name", "version", "sha256"):
                _text(found[name])
        return Release(
            int(values["serial"]),
            int(values["made_unix_s"]),
            int(values["expires_unix_s"]),
            tuple(definitions),
            tuple(_blob(entry) for entry in values["harnesses"]),
            tuple(_blob(entry) for entry in values["built"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, f"it is not a valid release: {error}", "release"
        ) from error


def _blob(entry: Any) -> tuple[str, str, int]:
    name, sha256, size = entry
    return _text(name), _text(sha256), int(size)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{str(value)[:40]!r} is not a text")
    return value


def _object(data: bytes, where: str) -> dict[str, Any]:
    if len(data) > MAX_RELEASE_BYTES:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT,
            f"it has {len(data)} bytes, more than {MAX_RELEASE_BYTES}",
            where,
        )
    try:
        values = parse_json(data)
    except ValueError as error:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, f"it is not JSON: {error}", where) from error
    if not isinstance(values, dict):
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, "it is not a JSON object", where)
    return values
