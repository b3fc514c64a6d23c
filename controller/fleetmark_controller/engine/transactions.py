"""Transactions: an operation decides in one, and its effects are applied after the commit."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store.db.writer import Writer
from fleetmark_core.clock import now_unix_ns

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection, Effects, int], T]
"""Decides with the writer's connection, notes effects, and is told the time (Unix, ns)."""
EffectHandler = Callable[[Effects], Awaitable[None]]
"""Applies its part of what a committed operation asks for."""


class Transactions:
    """Runs operations on the store's one writer. Nothing is sent before it is durable."""

    def __init__(self, writer: Writer, scheduling_wanted: asyncio.Event) -> None:
        """No effect has a handler yet; `scheduling_wanted` wakes the dispatcher."""
        self._writer = writer
        self._scheduling_wanted = scheduling_wanted
        self._handlers: list[EffectHandler] = []

    def add_handler(self, handler: EffectHandler) -> None:
        """Apply effects by `handler` too, after those that were added before it."""
        self._handlers.append(handler)

    async def transact(self, operation: Operation[T]) -> tuple[T, Effects]:
        """Run an operation; return after its commit, with effects that are not yet applied."""

        def transaction(connection: sqlite3.Connection) -> tuple[T, Effects]:
            effects = Effects()
            return operation(connection, effects, now_unix_ns()), effects

        return await self._writer.run(transaction)

    async def perform(self, operation: Operation[T]) -> T:
        """Run an operation and apply its effects."""
        result, effects = await self.transact(operation)
        await self.apply(effects)
        return result

    async def perform_and_schedule(self, operation: Operation[T]) -> T:
        """Run an operation that makes work: the scheduler's transaction follows at once.

        It stands behind the operation in the writer's queue and so shares its commit, if it can:
        a job and its first assignment become durable together.
        """
        done = asyncio.ensure_future(self.transact(operation))
        await asyncio.sleep(0)  # it is in the queue now
        self._scheduling_wanted.set()
        result, effects = await done
        await self.apply(effects)
        return result

    async def apply(self, effects: Effects) -> None:
        """Send, publish, evaluate and schedule what a committed operation asks for."""
        for handler in self._handlers:
            await handler(effects)

    async def request_scheduling(self, effects: Effects) -> None:
        """Wake the dispatcher, if something became free or waiting.

        Added before handlers that read the store: whatever becomes of those, or of the caller,
        a job that waits beside a free device is looked at.
        """
        if effects.schedule:
            self._scheduling_wanted.set()
