"""The streams that devices hold: messages to each, and who of the fleet is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleetmark_controller.engine.log_tail import Logs
from fleetmark_controller.identity.model import State
from fleetmark_controller.identity.registry import Registry
from fleetmark_controller.operations.effects import Effects, OfferEffect, StopEffect, TailEffect
from fleetmark_controller.scheduling.presence import Presence
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.security import identities
from fleetmark_core.clock import now_monotonic_ns

Outbox = Callable[[OfferEffect | StopEffect | TailEffect], None]


class DeviceStreams:
    """Sessions of devices, their outboxes, and what each agent understands."""

    def __init__(
        self,
        reader: Reader,
        presence: Presence,
        registry: Registry,
        scheduling_wanted: asyncio.Event,
    ) -> None:
        """No device is connected yet."""
        self._reader = reader
        self._presence = presence
        self._registry = registry
        self._scheduling_wanted = scheduling_wanted
        self._outboxes: dict[str, Outbox] = {}
        self.features: dict[str, frozenset[str]] = {}
        """What the agent of each device understands, by its last hello."""
        self.logs = Logs(self.send)

    def open(
        self,
        device_id: str,
        boot_id: str,
        idle: bool,
        outbox: Outbox,
        features: frozenset[str] = frozenset(),
    ) -> int:
        """Take a device's stream; messages for it go to `outbox`. Returns the session's number."""
        self._outboxes[device_id] = outbox
        self.features[device_id] = features
        self.logs.is_back(device_id)
        return self._presence.connected(device_id, boot_id, idle, now_monotonic_ns())

    def close(self, device_id: str, session: int) -> None:
        """The stream ended, for whatever reason; its lease runs on."""
        if self._presence.current(device_id, session):
            self._outboxes.pop(device_id, None)
        self._presence.disconnected(device_id, session)

    def alive(self, device_id: str, session: int) -> None:
        """Something was heard of the device."""
        self._presence.alive(device_id, session, now_monotonic_ns())

    def heartbeat(self, device_id: str, session: int, idle: bool) -> None:
        """The device lives."""
        if self._presence.heartbeat(device_id, session, idle, now_monotonic_ns()):
            self._scheduling_wanted.set()

    def send(self, message: OfferEffect | StopEffect | TailEffect) -> None:
        """Send a message to its device, if that is connected: else its next hello is answered."""
        outbox = self._outboxes.get(message.key.device_id)
        if outbox is not None:
            outbox(message)

    async def refresh_identities(self, effects: Effects) -> None:
        """Look up identities that changed; streams of those that count no more end."""
        if not effects.identities:
            return
        changed = set(effects.identities)
        found = await self._reader.run(lambda c: identities.some(c, changed))
        for identity in found:
            if identity.state is not State.ACTIVE:
                self._presence.dismissed(identity.identity_id)
                self._outboxes.pop(identity.identity_id, None)
        self._registry.update(found)

    async def send_messages(self, effects: Effects) -> None:
        """Send stops and offers to their devices."""
        for stop in effects.stops:
            self.send(stop)
        for offer in effects.offers:
            self.send(offer)
            self._presence.occupied(offer.key.device_id)
