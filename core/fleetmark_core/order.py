"""Orders: the controller's instruction for one attempt.

A signed order is transferred as an *envelope*: the order's canonical JSON as a text, the signature,
and the certificate in which the controller's CA names the signing key.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from fleetmark_core.digest import canonical_json, is_sha256
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.serde import parse_document, to_plain

ORDER_FORMAT = 1
HIGHEST_START_C = 125.0
"""Highest temperature below which a job may be asked to start."""
_LONGEST_S = 366 * 86_400.0
SIGNED = "signed.v1"
"""The protocol feature by which both sides announce that orders are signed."""


@dataclass(frozen=True)
class Order:
    """The device, job, epoch, lockfile and parameters of one attempt.

    `bundle_bytes` is the size of all blobs that the lockfile names. `memory_bytes` is the predicted
    memory of the job's process; `environment_bytes` and `output_bytes` are its predicted disk use
    besides the bundle. With them a device can refuse an order before any transfer. Zero means that
    there is no prediction. `min_sandbox` is the weakest sandbox level that the job may run in;
    empty means any. `stable` makes the device cool down first and apply the settings that make runs
    comparable. `start_below_c` is the temperature in °C below which the job starts; 0: any.
    """

    format: int
    device_id: str
    campaign_id: str
    job_id: str
    epoch: int
    lock_sha256: str
    lock_bytes: int
    bundle_bytes: int
    scenario: str
    mode: str
    profile: str
    timeout_s: float
    parameters: dict[str, Any] = field(default_factory=dict)
    memory_bytes: int = 0
    environment_bytes: int = 0
    output_bytes: int = 0
    release_serial: int = 0
    release_sha256: str = ""
    release_bytes: int = 0
    min_sandbox: str = ""
    stable: bool = False
    start_below_c: float = 0.0

    def canonical(self) -> bytes:
        """Return the canonical bytes.

        Unset optional keys are omitted, so that older agents can read the order.
        """
        values: dict[str, Any] = to_plain(self)
        if not self.min_sandbox:
            del values["min_sandbox"]
        if not self.stable:
            del values["stable"]
        if not self.start_below_c:
            del values["start_below_c"]
        if not self.release_sha256:
            for name in ("release_serial", "release_sha256", "release_bytes"):
                del values[name]
        return canonical_json(values)


@dataclass(frozen=True)
class SignedOrder:
    """The envelope of a signed order; `certificate` is PEM. Nothing is verified yet."""

    format: int
    signed: str
    signature: str
    certificate: str

    def canonical(self) -> bytes:
        """Return the canonical bytes of the envelope."""
        return canonical_json(to_plain(self))


def parse_signed(data: bytes) -> SignedOrder:
    """Parse the envelope of an order without verifying its signature.

    Raises:
        FleetmarkError: UNSIGNED: the order has no envelope; BAD_DOCUMENT.
    """
    if not is_signed(data):
        raise FleetmarkError(ErrorKind.UNSIGNED, "the order is not signed")
    return parse_document(SignedOrder, data, "order")


def without_release(data: bytes) -> bytes:
    """Return the order without its release, unsigned, for agents older than releases."""
    order = parse_order(data)
    return replace(order, release_serial=0, release_sha256="", release_bytes=0).canonical()


def is_signed(data: bytes) -> bool:
    """Return whether the bytes have the form of an order in an envelope."""
    # Canonical JSON has sorted keys: an envelope begins with this one, which plain orders lack.
    return data.startswith(b'{"certificate":')


def parse_order(data: bytes) -> Order:
    """Parse and validate an order, with or without its envelope, without verifying a signature.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    if is_signed(data):
        data = parse_signed(data).signed.encode()
    order = parse_document(Order, data, "order")
    if order.format != ORDER_FORMAT:
        what = f"format {order.format} is not supported: this version reads {ORDER_FORMAT}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, "order")
    # Written so that NaN is rejected as well.
    timed = 0 < order.timeout_s <= _LONGEST_S
    if not is_sha256(order.lock_sha256) or not timed or order.epoch <= 0:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT,
            "the lockfile's digest, the time limit or the epoch is not valid",
            "order",
        )
    if not 0 <= order.start_below_c <= HIGHEST_START_C:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, "the start temperature is not possible", "order"
        )
    if order.release_sha256 and not is_sha256(order.release_sha256):
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, "the release's digest is not a SHA-256 digest", "order"
        )
    return order
