"""Dispatch: waiting jobs are bound to free devices whenever a device or job changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleetmark_controller.engine.background import retry_until_done
from fleetmark_controller.engine.transactions import Transactions
from fleetmark_controller.operations import dispatch
from fleetmark_controller.scheduling.model import Scheduler
from fleetmark_controller.scheduling.presence import Presence
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.security.releases import SigningStatus
from fleetmark_core.clock import NS_PER_S, now_monotonic_ns, now_unix_ns

_LONGEST_PAUSE_S = 3600.0


class Dispatcher:
    """Runner of the scheduler, one pass at a time."""

    def __init__(
        self,
        reader: Reader,
        transactions: Transactions,
        presence: Presence,
        scheduler: Scheduler,
        signing_status: Callable[[], SigningStatus],
        wanted: asyncio.Event,
    ) -> None:
        """Create a dispatcher.

        Args:
            reader: reads the store.
            transactions: run the dispatch operation.
            presence: the connected and idle devices.
            scheduler: decides which job runs on which device.
            signing_status: returns the release under which orders can be signed now.
            wanted: set to request a pass.
        """
        self._reader = reader
        self._transactions = transactions
        self._presence = presence
        self._scheduler = scheduler
        self._signing_status = signing_status
        self._wanted = wanted

    async def run(self) -> None:
        """Schedule until the task is cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            await retry_until_done("schedule jobs", self._pass)

    def request(self) -> None:
        """Request a pass after a change that concerns the scheduler."""
        self._wanted.set()

    async def waits(self) -> dict[str, str]:
        """Return the wait reason of each waiting job."""
        seen = self._presence.seen(now_monotonic_ns())
        status = self._signing_status()
        return await self._reader.run(
            lambda c: dispatch.waits(c, now_unix_ns(), seen, self._scheduler, status)
        )

    async def _pass(self) -> None:
        free = self._presence.free()
        if not free:
            return
        seen = self._presence.seen(now_monotonic_ns())
        again_ns = await self._transactions.run_operation(
            lambda c, effects, now: dispatch.dispatch_jobs(
                c, effects, now, seen, self._scheduler, free, self._signing_status()
            )
        )
        if again_ns is not None:
            # A device becomes free without an event when a rest or a reservation ends.
            delay_s = min(again_ns / NS_PER_S + 0.01, _LONGEST_PAUSE_S)
            asyncio.get_running_loop().call_later(delay_s, self._wanted.set)
