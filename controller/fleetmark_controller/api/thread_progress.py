"""Run a function in a thread and stream its progress messages, then its result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *arguments: Any) -> AsyncIterator[str | T]:
    """Yield each text that `work` reports, and its result last.

    Args:
        work: called in a thread with `arguments` and a function that takes a line of progress.
        arguments: its first arguments.
    """
    progress: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def report_progress(text: str) -> None:
        loop.call_soon_threadsafe(progress.put_nowait, text)

    task = loop.create_task(asyncio.to_thread(work, *arguments, report_progress))
    task.add_done_callback(lambda _: progress.put_nowait(None))
    while (text := await progress.get()) is not None:
        yield text
    yield await task
