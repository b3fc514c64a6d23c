"""Verification of an order on the device: both signatures, and everything that they cover.

Pure except for `cryptography`, which it loads: agents run it in a helper process.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetmark_core import signing
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import parse_lockfile
from fleetmark_core.order import Order, parse_order, parse_signed
from fleetmark_core.release import parse_envelope
from fleetmark_core.release_policy import check_lock, check_order


@dataclass(frozen=True)
class TrustState:
    """The trust state of a device.

    `ca` is PEM; `root_sha256` is the fingerprint of the trusted catalog key. `version` is the
    highest release version that the device has seen, and `release_sha256` is that release.
    `now_unix_s` is the later of the device's clock and the last time that its controller sent.
    """

    ca: bytes
    root_sha256: str
    version: int
    release_sha256: str
    now_unix_s: int


@dataclass(frozen=True)
class VerifiedRelease:
    """The new trust state after a valid order: the newest catalog key and the release's version."""

    root_sha256: str
    version: int
    release_sha256: str


def verify_order_signature(data: bytes, ca: bytes) -> Order:
    """Return the order in an envelope after verifying that the controller of this CA signed it.

    Raises:
        FleetmarkError: UNSIGNED, FOREIGN_KEY, BAD_SIGNATURE, BAD_DOCUMENT.
    """
    envelope = parse_signed(data)
    key = signing.certified_key(envelope.certificate, ca)
    if not signing.verify(signing.ORDER, envelope.signed.encode(), envelope.signature, key):
        raise FleetmarkError(ErrorKind.BAD_SIGNATURE, "the order does not match its signature")
    order = parse_order(envelope.signed.encode())
    if not order.release_sha256:
        raise FleetmarkError(ErrorKind.UNSIGNED, "the order names no release")
    return order


def verify_order(
    trusted: TrustState, order_data: bytes, release: bytes, lock: bytes
) -> VerifiedRelease:
    """Verify an order together with the bytes of its release and of its lockfile.

    Raises:
        FleetmarkError: the kind says which check failed; see `ErrorKind`.
    """
    order = verify_order_signature(order_data, trusted.ca)
    release_sha256 = sha256_hex(release)
    if release_sha256 != order.release_sha256 or sha256_hex(lock) != order.lock_sha256:
        raise FleetmarkError(
            ErrorKind.DIGEST_MISMATCH,
            "the digest of the release or of the lockfile is not the one in the order",
        )
    found, path = parse_envelope(release).open(trusted.root_sha256)
    if found.version != order.release_serial:
        raise FleetmarkError(
            ErrorKind.MIXED,
            f"the order names release {order.release_serial}, but the release has version "
            f"{found.version}",
        )
    if found.version < trusted.version:
        raise FleetmarkError(
            ErrorKind.ROLLED_BACK,
            f"release {found.version} is older than {trusted.version}, which this device has seen",
        )
    if found.version == trusted.version and trusted.release_sha256 not in ("", release_sha256):
        raise FleetmarkError(
            ErrorKind.ROLLED_BACK,
            f"this device has seen a different release of version {found.version}",
        )
    if found.expires_unix_s <= trusted.now_unix_s:
        late_s = trusted.now_unix_s - found.expires_unix_s
        raise FleetmarkError(
            ErrorKind.EXPIRED, f"release {found.version} expired {late_s / 86400:.1f} days ago"
        )
    chosen = parse_lockfile(lock)
    check_lock(found, chosen)
    check_order(found, order, chosen)
    return VerifiedRelease(path[-1], found.version, release_sha256)
