"""Release of quarantined devices: they are power-cycled and get a health check.

A device on which several jobs failed in a row gets no further jobs. It is power-cycled if a command
for that is configured. Then it gets a health check: one job of a configured benchmark. A success
releases the device; a failure repeats these steps after a pause. Operators release it with
`controller fleet unquarantine`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence

from fleetmark_controller.engine.submission import Submission
from fleetmark_controller.engine.transactions import Transactions
from fleetmark_controller.home.settings import ControllerSettings
from fleetmark_controller.lifecycle.power_command import PowerCommandError, fill_power_command
from fleetmark_controller.planning.campaign_request import CampaignRequest
from fleetmark_controller.planning.device import Device
from fleetmark_controller.store import events
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.devices import device_admin, devices
from fleetmark_controller.store.devices.device_admin import DeviceAdminState
from fleetmark_controller.store.jobs import campaigns
from fleetmark_controller.store.jobs.campaigns import HEALTH_CHECK
from fleetmark_core.clock import NS_PER_S, now_unix_ns, parse_iso
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.ids import uuid7
from fleetmark_core.log import get_logger

log = get_logger("fleetmark.controller")
_SHORTEST_DEADLINE_S = 600.0


class QuarantineMonitor:
    """Runner of the health checks of quarantined devices."""

    def __init__(
        self,
        settings: ControllerSettings,
        reader: Reader,
        transactions: Transactions,
        submission: Submission,
    ) -> None:
        """Create a monitor that does nothing before `check_due` and `check`."""
        self._settings = settings
        self._reader = reader
        self._transactions = transactions
        self._submission = submission
        self._busy: set[str] = set()

    async def check_due(self) -> list[str]:
        """Return the devices that are due for a health check; the caller calls `check` for each."""
        if not self._settings.quarantine_after or not self._settings.health_check:
            return []
        due = await self._reader.run(self._due)
        due = [device_id for device_id in due if device_id not in self._busy]
        self._busy.update(due)
        return due

    async def check(self, device_id: str) -> None:
        """Power-cycle a device, if that is configured, and submit its health check."""
        try:
            device = await self._reader.run(lambda c: devices.get(c, device_id))
            if device is not None:
                log.warning("device quarantined", device=device.name, device_id=device_id)
                await self._power_cycle(device)
                campaign = await self._submit(device)
                await self._transactions.run_operation(
                    lambda c, _fx, now: device_admin.record_health_check(
                        c, now, device_id, campaign
                    )
                )
        finally:
            self._busy.discard(device_id)

    def _due(self, connection: sqlite3.Connection) -> list[str]:
        found = []
        for device_id in device_admin.quarantined(connection, self._settings.quarantine_after):
            known = device_admin.get(connection, device_id)
            if not campaigns.is_unfinished(connection, known.check_campaign) and self._rested(
                known
            ):
                found.append(device_id)
        return found

    def _rested(self, known: DeviceAdminState) -> bool:
        if not known.checked_at:
            return True
        pause_ns = int(self._settings.health_check_retry_s * NS_PER_S)
        # A clock that stepped back must not keep a device in quarantine.
        return not 0 <= now_unix_ns() - parse_iso(known.checked_at) < pause_ns

    async def _submit(self, device: Device) -> str:
        """Submit the health check; return its campaign, or an empty string if that fails."""
        request = CampaignRequest(
            campaign_id=uuid7(),
            benchmark=self._settings.health_check,
            selector=f'name="{device.name}"',
            modes=("performance",),
            priority=1000,
            deadline_s=max(_SHORTEST_DEADLINE_S, self._settings.health_check_retry_s),
            max_attempts=1,
            submitted_by=HEALTH_CHECK,
        )
        bound = log.bind(device=device.name, campaign=request.campaign_id)

        def report_progress(text: str) -> None:
            bound.info("health check prepared", progress=text)

        try:
            plan = await self._submission.built(
                request, await self._submission.plan(request), report_progress
            )
            # One job is sufficient proof.
            del plan.jobs[1:]
            await self._submission.submit(
                request, plan, report_progress, "controller", HEALTH_CHECK
            )
        except FleetmarkError as error:
            log.warning("health check not submitted", device=device.name, error=error)
            return ""
        bound.info("health check submitted")
        return request.campaign_id

    async def _power_cycle(self, device: Device) -> None:
        if not self._settings.power_cycle:
            return
        values = await self._reader.run(lambda c: device_admin.operator_values(c, device.device_id))
        try:
            words = fill_power_command(
                self._settings.power_cycle, {"device_id": device.device_id, **values}
            )
        except PowerCommandError as error:
            outcome = f"not done: {error}"
        else:
            outcome = await _run(words, self._settings.power_cycle_timeout_s)
        log.warning("power cycle ended", device=device.name, outcome=outcome)
        await self._transactions.run_operation(
            lambda c, _fx, now: events.add(
                c, now, "device.power_cycled", device_id=device.device_id, outcome=outcome
            )
        )


async def _run(words: Sequence[str], timeout_s: float) -> str:
    """Run a command without a shell; return the outcome as text."""
    try:
        child = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        return f"{words[0]} cannot be started: {error.strerror or error}"
    try:
        code = await asyncio.wait_for(child.wait(), timeout_s)
    except asyncio.TimeoutError:
        child.kill()
        await child.wait()
        return f"{words[0]} did not end within {timeout_s:g} s"
    return "done" if code == 0 else f"{words[0]} ended with exit code {code}"
