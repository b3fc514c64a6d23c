"""Effects of time: leases and certificates expire, jobs reach their deadlines."""

from __future__ import annotations

import asyncio
from functools import partial
from sqlite3 import Connection

from fleetmark_controller.engine.background import BackgroundTasks, retry_until_done
from fleetmark_controller.engine.dispatcher import Dispatcher
from fleetmark_controller.engine.quarantine import QuarantineMonitor
from fleetmark_controller.engine.transactions import Transactions
from fleetmark_controller.identity.registry import Registry
from fleetmark_controller.operations import campaigns, sessions
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.scheduling.presence import Presence
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.jobs import listings
from fleetmark_controller.store.security import audit
from fleetmark_core.clock import ClockStepDetector, now_monotonic_ns, now_unix_ns
from fleetmark_core.log import get_logger

log = get_logger("fleetmark.controller")


class LeaseMonitor:
    """Watcher of all time limits of the controller, several times per lease."""

    def __init__(
        self,
        lease_s: float,
        reader: Reader,
        transactions: Transactions,
        presence: Presence,
        registry: Registry,
        dispatcher: Dispatcher,
        quarantine: QuarantineMonitor,
        tasks: BackgroundTasks,
    ) -> None:
        """Create a monitor.

        Args:
            lease_s: how long a device without contact keeps its lease.
            reader: reads the store.
            transactions: run the operations.
            presence: holds the leases.
            registry: holds open calls, which end when their certificates expire.
            dispatcher: knows the wait reasons of jobs.
            quarantine: checks quarantined devices.
            tasks: run the health checks.
        """
        self._lease_s = lease_s
        self._reader = reader
        self._transactions = transactions
        self._presence = presence
        self._registry = registry
        self._dispatcher = dispatcher
        self._quarantine = quarantine
        self._tasks = tasks

    async def run(self) -> None:
        """Watch until the task is cancelled."""
        pause_s = min(1.0, self._lease_s / 4)
        clocks = ClockStepDetector(now_unix_ns(), now_monotonic_ns())
        while True:
            await asyncio.sleep(pause_s)
            step_s = clocks.check(now_unix_ns(), now_monotonic_ns())
            if step_s:
                log.warning(
                    "clock stepped",
                    step_s=round(step_s),
                    hint="Later timestamps include the step; leases, durations and the order of"
                    " results do not",
                )
                record = partial(
                    self._transactions.run_operation, partial(_record_step, step_s=step_s)
                )
                self._tasks.spawn(retry_until_done("record a clock step in the audit log", record))
            for device_id in self._presence.expire(now_monotonic_ns()):
                log.warning(
                    "lease expired",
                    device=self._registry.name_of(device_id),
                    device_id=device_id,
                    lease_s=self._lease_s,
                    reason="no contact with the device",
                )
                expire = partial(sessions.lease_expired, device_id=device_id)
                perform = partial(self._transactions.run_operation, expire)
                await retry_until_done("end a lease", perform)
            await retry_until_done("end overdue jobs", self._end_overdue)
            self._registry.end_expired(now_unix_ns())
            for device_id in await retry_until_done(
                "find devices due for a health check", self._quarantine.check_due
            ):
                self._tasks.spawn(self._quarantine.check(device_id))

    async def _end_overdue(self) -> None:
        if await self._reader.run(lambda c: listings.any_overdue(c, now_unix_ns())):
            # Overdue jobs end with the wait reason that they have now.
            waits = await self._dispatcher.waits()
            await self._transactions.run_operation(partial(campaigns.end_overdue, waits=waits))


def _record_step(connection: Connection, fx: Effects, now_ns: int, *, step_s: float) -> None:
    """Record a clock step: it explains times of runs and audit rows that are out of order."""
    audit.add(connection, now_ns, "controller", "clock.step", step_s=round(step_s, 3))
