"""The end of an agent, whatever its tasks are at."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fleetmark_agent.daemon.daemon import end_tasks


async def deaf(times: int) -> None:
    """Loses as many cancellations, as `asyncio.wait_for` may before Python 3.12."""
    for _ in range(times):
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
    await asyncio.sleep(3600)


async def failing() -> None:
    raise OSError("no disk")


async def test_a_task_that_loses_a_cancellation_ends_all_the_same() -> None:
    tasks = {asyncio.ensure_future(work) for work in (deaf(0), deaf(1), deaf(2), failing())}
    await asyncio.sleep(0)
    await asyncio.wait_for(end_tasks(set(tasks)), 30)
    assert all(task.done() for task in tasks)
    assert [task for task in tasks if not task.cancelled() and task.exception() is None] == []


async def test_nothing_to_end_is_no_error() -> None:
    await end_tasks(set())
