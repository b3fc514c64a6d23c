"""When Python looks for garbage in cycles: by the clock, not in the middle of a dispatch.

What it looks through grows with the fleet. With thousands of boards one look at everything takes
longer than all else that stands between a waiting job and its board, and by Python's own rule it
comes when many things were made, which is just when many jobs are given out.
"""

from __future__ import annotations

import asyncio
import gc

_YOUNG = (10_000, 10)
_NEVER = 1_000_000
_EVERY_S = 600.0


def calm() -> None:
    """From now on look through young things alone; what is there now stays, and is left out."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_YOUNG, _NEVER)


async def sweep(every_s: float = _EVERY_S) -> None:
    """Look through everything from time to time, for as long as this runs."""
    while True:
        await asyncio.sleep(every_s)
        gc.collect()
