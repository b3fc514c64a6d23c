"""What keeps a large fleet quick must not change what is decided."""

from __future__ import annotations

from fleetmark_controller.server import gc_policy


async def test_garbage_is_looked_for_by_the_clock() -> None:
    import asyncio
    import gc

    before = gc.get_threshold()
    try:
        gc_policy.freeze_startup_objects()
        assert gc.get_threshold()[2] > 1000, "not whenever many things were made"
        swept: list[str] = []
        gc.callbacks.append(lambda phase, info: swept.append(f"{phase} {info['generation']}"))
        task = asyncio.get_running_loop().create_task(gc_policy.collect_periodically(0.01))
        while "stop 2" not in swept:
            await asyncio.sleep(0.01)
        task.cancel()
        gc.callbacks.pop()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
