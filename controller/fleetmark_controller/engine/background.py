"""Background tasks of the controller: started, logged when they fail, cancelled at shutdown."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_core.retry import Backoff

T = TypeVar("T")
log = get_logger("fleetmark.controller")
_RETRY_S = (0.5, 10.0)
_PASSING = (ErrorKind.DISK_FULL, ErrorKind.STORE_UNUSABLE)
_REFUSED = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.NotSupportedError,
)
"""Errors caused by a statement or its values. A full or failing disk raises other errors."""


class BackgroundTasks:
    """The background tasks of one controller."""

    def __init__(self) -> None:
        """Start without tasks."""
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run `work` in the running loop until it ends or the controller stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def cancel(self) -> None:
        """Cancel all running tasks, and wait for them."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.failure("background task failed", error)


async def retry_until_done(what: str, work: Callable[[], Awaitable[T]]) -> T:
    """Retry `work` until it succeeds, because a full or failing disk may be repaired meanwhile.

    Args:
        what: the name of the work, for the log.
        work: called for each try.

    Raises:
        FleetmarkError: an error of a kind that waiting does not repair.
        sqlite3.Error: the store rejects the statement itself.
    """
    backoff = Backoff(*_RETRY_S)
    while True:
        try:
            return await work()
        except (OSError, sqlite3.Error, FleetmarkError) as error:
            if isinstance(error, FleetmarkError) and error.kind not in _PASSING:
                raise
            if isinstance(error, _REFUSED):
                raise
            log.error("operation failed", operation=what, error=error, hint="It is retried")
        await asyncio.sleep(backoff.next_s())
