"""An order: the controller's instruction for one attempt."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fleetmark_catalog.core.digest import canonical_json, is_sha256
from fleetmark_catalog.core.errors import CatalogError, Fault
from fleetmark_catalog.core.plain import parse_document, to_plain

ORDER_FORMAT = 1


@dataclass(frozen=True)
class Order:
    """Device, job, epoch, lock and parameters of one attempt.

    `bundle_bytes` is the size of all blobs that the lock names; `memory_bytes` is what the job's
    process is predicted to need, `environment_bytes` and `output_bytes` what it needs of the disk
    besides: so a board can refuse before it transfers anything. Zero: nothing was predicted.
    `min_sandbox` is the weakest level that the job may run in; empty: any.
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
    min_sandbox: str = ""

    def canonical(self) -> bytes:
        """The bytes that travel. What nobody asked for is not spoken of: older agents read it."""
        values = to_plain(self)
        if not self.min_sandbox:
            del values["min_sandbox"]
        return canonical_json(values)


def parse_order(data: bytes) -> Order:
    """Read and check an order.

    Raises:
        CatalogError: fault BAD_DOCUMENT.
    """
    order = parse_document(Order, data, "order")
    if order.format != ORDER_FORMAT:
        what = f"format {order.format}, this version reads {ORDER_FORMAT}"
        raise CatalogError(Fault.BAD_DOCUMENT, what, "order")
    if not is_sha256(order.lock_sha256) or order.timeout_s <= 0 or order.epoch <= 0:
        raise CatalogError(Fault.BAD_DOCUMENT, "bad digest, time limit or epoch", "order")
    return order
