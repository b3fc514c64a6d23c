"""An order: the controller's instruction for one attempt.

A signed order travels as an *envelope*: the order's canonical JSON as a text, the signature, and
the certificate by which the controller's CA names the key that made it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from fleetmark_core.digest import canonical_json, is_sha256
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.serde import parse_document, to_plain

ORDER_FORMAT = 1
_LONGEST_S = 366 * 86_400.0
SIGNED = "signed.v1"
"""The feature by which both sides say that orders are signed."""


@dataclass(frozen=True)
class Order:
    """Device, job, epoch, lock and parameters of one attempt.

    `bundle_bytes` is the size of all blobs that the lock names; `memory_bytes` is what the job's
    process is predicted to need, `environment_bytes` and `output_bytes` what it needs of the disk
    besides: so a board can refuse before it transfers anything. Zero: nothing was predicted.
    `min_sandbox` is the weakest level that the job may run in; empty: any. `stable`: the board
    cools first, and sets what makes its runs alike.
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

    def canonical(self) -> bytes:
        """The bytes that travel. What nobody asked for is not spoken of: older agents read it."""
        values: dict[str, Any] = to_plain(self)
        if not self.min_sandbox:
            del values["min_sandbox"]
        if not self.stable:
            del values["stable"]
        if not self.release_sha256:
            for name in ("release_serial", "release_sha256", "release_bytes"):
                del values[name]
        return canonical_json(values)


@dataclass(frozen=True)
class SignedOrder:
    """An order as it travels; `certificate` is PEM. Nothing is checked yet."""

    format: int
    signed: str
    signature: str
    certificate: str

    def canonical(self) -> bytes:
        """The bytes that travel."""
        return canonical_json(to_plain(self))


def parse_signed(data: bytes) -> SignedOrder:
    """The envelope of an order; no signature is checked.

    Raises:
        FleetmarkError: UNSIGNED: an order without envelope; BAD_DOCUMENT.
    """
    if not is_signed(data):
        raise FleetmarkError(ErrorKind.UNSIGNED, "the order is not signed")
    return parse_document(SignedOrder, data, "order")


def without_release(data: bytes) -> bytes:
    """A plain order as agents of the time before there were releases read it."""
    order = parse_order(data)
    return replace(order, release_serial=0, release_sha256="", release_bytes=0).canonical()


def is_signed(data: bytes) -> bool:
    """Whether the bytes are an order in an envelope, by their form."""
    # Canonical JSON: its keys are sorted, and no key of an order comes before this one.
    return data.startswith(b'{"certificate":')


def parse_order(data: bytes) -> Order:
    """Read and check an order, with or without its envelope. No signature is checked.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    if is_signed(data):
        data = parse_signed(data).signed.encode()
    order = parse_document(Order, data, "order")
    if order.format != ORDER_FORMAT:
        what = f"format {order.format}, this version reads {ORDER_FORMAT}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, "order")
    # Written so that NaN is refused, too.
    timed = 0 < order.timeout_s <= _LONGEST_S
    if not is_sha256(order.lock_sha256) or not timed or order.epoch <= 0:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, "bad digest, time limit or epoch", "order")
    if order.release_sha256 and not is_sha256(order.release_sha256):
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, "bad digest of a release", "order")
    return order
