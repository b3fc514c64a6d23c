"""Transactions: an operation decides inside one, and its effects are applied after the commit."""

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
"""Decides on the writer's connection, records effects, and receives the time (Unix, ns)."""
EffectHandler = Callable[[Effects], Awaitable[None]]
"""Applies its part of the effects of a committed operation."""


class Transactions:
    """Runner of operations on the store's single writer. Nothing is sent before it is durable."""

    def __init__(self, writer: Writer, scheduling_wanted: asyncio.Event) -> None:
        """Start without effect handlers.

        Args:
            writer: the store's writer.
            scheduling_wanted: wakes the dispatcher.
        """
        self._writer = writer
        self._scheduling_wanted = scheduling_wanted
        self._handlers: list[EffectHandler] = []

    def add_handler(self, handler: EffectHandler) -> None:
        """Add a handler of effects; handlers run in the order in which they were added."""
        self._handlers.append(handler)

    async def run_transaction(self, operation: Operation[T]) -> tuple[T, Effects]:
        """Run an operation; return after its commit, with effects that are not yet applied."""

        def transaction(connection: sqlite3.Connection) -> tuple[T, Effects]:
            effects = Effects()
            return operation(connection, effects, now_unix_ns()), effects

        return await self._writer.run(transaction)

    async def run_operation(self, operation: Operation[T]) -> T:
        """Run an operation and apply its effects."""
        result, effects = await self.run_transaction(operation)
        await self.apply(effects)
        return result

    async def run_operation_then_schedule(self, operation: Operation[T]) -> T:
        """Run an operation that creates work, followed at once by the scheduler's transaction.

        The scheduler's transaction is queued right behind the operation, so that both can share one
        commit: a job and its first dispatch then become durable together.
        """
        done = asyncio.ensure_future(self.run_transaction(operation))
        await asyncio.sleep(0)  # lets the operation enter the queue
        self._scheduling_wanted.set()
        result, effects = await done
        await self.apply(effects)
        return result

    async def apply(self, effects: Effects) -> None:
        """Send, publish, evaluate and schedule what a committed operation requests."""
        for handler in self._handlers:
            await handler(effects)

    async def request_scheduling(self, effects: Effects) -> None:
        """Wake the dispatcher if a device became free or a job became ready.

        This handler is added before handlers that read the store. If those fail, or the caller is
        cancelled, the dispatcher still considers a waiting job beside a free device.
        """
        if effects.schedule:
            self._scheduling_wanted.set()
