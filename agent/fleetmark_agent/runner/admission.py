"""Admission check: a job must fit the device's current memory and disk before any download."""

from __future__ import annotations

from fleetmark_agent.cache.blob_cache import Cache
from fleetmark_agent.errors import Refusal
from fleetmark_agent.fingerprint import memory
from fleetmark_agent.state.files import free_bytes
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.order import Order
from fleetmark_core.resource_model import (
    HELPERS_BYTES,
    ResourceNeeds,
    disk_shortage,
    memory_shortage,
)


def check(
    order: Order, cache: Cache, available_bytes: int | None, job_memory_bytes: int = 0
) -> None:
    """Compare the resource needs in an order with the available resources.

    All disk space that could be made available counts: the free space and the whole cache. The job
    may find its blobs in the cache, or other entries may be evicted. Once the lockfile is present,
    `prepare` checks more precisely.

    Args:
        order: the order of the job.
        cache: the cache of the device.
        available_bytes: memory that is free now; None if unknown.
        job_memory_bytes: memory that the agent's settings allow to a job; 0: no limit.

    Raises:
        Refusal: the job does not fit; the message names both figures.
    """
    needs = ResourceNeeds(order.memory_bytes, order.environment_bytes, order.output_bytes)
    memory_reason = disk_reason = ""
    if available_bytes is not None:
        memory_reason = memory_shortage(needs, max(0, available_bytes - HELPERS_BYTES))
    if not memory_reason and job_memory_bytes:
        short = memory_shortage(needs, job_memory_bytes)
        memory_reason = f"{short} to a job (job_memory_bytes in config.toml)" if short else ""
    if order.environment_bytes or order.output_bytes:
        free = free_bytes(cache.root) - cache.min_free_bytes
        if disk_shortage(needs, order.bundle_bytes, free):
            # Measured only now, because the size of the cache takes time to compute.
            room = max(0, free + cache.used_bytes())
            disk_reason = disk_shortage(needs, order.bundle_bytes, room)
    found = [reason for reason in (memory_reason, disk_reason) if reason]
    if found:
        cause = FailureCause.JOB if memory_reason else FailureCause.DEVICE
        raise Refusal(", and ".join(found), retryable=False, cause=cause)


def available_memory() -> int | None:
    """Return the bytes of memory that a job can get now; see `fingerprint.memory.available`."""
    return memory.available()
