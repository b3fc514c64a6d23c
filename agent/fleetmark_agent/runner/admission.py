"""Whether a job fits the board as it is now: asked before anything of it is fetched."""

from __future__ import annotations

from fleetmark_agent.cache.blob_cache import Cache
from fleetmark_agent.errors import Refusal
from fleetmark_agent.fingerprint import memory
from fleetmark_agent.state.files import free_bytes
from fleetmark_core.order import Order
from fleetmark_core.resource_model import HELPERS_BYTES, Needs, disk_shortage, memory_shortage


def check(order: Order, cache: Cache, available_bytes: int | None) -> None:
    """Compare what an order says that its job needs with what there is.

    `available_bytes` of memory are free now; None where the board does not say. Of the disk all
    counts that could be had: free room, and the whole cache, whether the job finds there what it
    needs or others' things make room for it. Once the lock is here, `prepare` looks more closely.

    Raises:
        Refusal: it does not fit, with both figures.
    """
    needs = Needs(order.memory_bytes, order.environment_bytes, order.output_bytes)
    reasons = []
    if available_bytes is not None:
        reasons.append(memory_shortage(needs, max(0, available_bytes - HELPERS_BYTES)))
    if order.environment_bytes or order.output_bytes:
        free = free_bytes(cache.root) - cache.min_free_bytes
        if disk_shortage(needs, order.bundle_bytes, free):
            # Only now, for counting the cache takes its time.
            room = max(0, free + cache.used_bytes())
            reasons.append(disk_shortage(needs, order.bundle_bytes, room))
    found = [reason for reason in reasons if reason]
    if found:
        raise Refusal(", and ".join(found), retryable=False)


def available_memory() -> int | None:
    """Bytes that a job can get now, see `facts.memory.available`."""
    return memory.available()
