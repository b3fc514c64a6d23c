"""Schedule of garbage collection: by the clock, not in the middle of a dispatch.

The cost of a full collection grows with the fleet. With thousands of devices, one full collection
takes longer than all other steps between a waiting job and its device. Python's default policy
starts it after many allocations, which is when many jobs are dispatched.
"""

from __future__ import annotations

import asyncio
import gc

_YOUNG = (10_000, 10)
_NEVER = 1_000_000
_EVERY_S = 600.0


def freeze_startup_objects() -> None:
    """Freeze the current objects, and stop automatic full collections."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_YOUNG, _NEVER)


async def collect_periodically(every_s: float = _EVERY_S) -> None:
    """Run a full collection every `every_s` seconds until cancelled."""
    while True:
        await asyncio.sleep(every_s)
        gc.collect()
