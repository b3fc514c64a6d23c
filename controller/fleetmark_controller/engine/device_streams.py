"""The streams of connected devices, and the messages that are sent on them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleetmark_controller.engine.log_tail import LogTailHub
from fleetmark_controller.identity.model import IdentityState
from fleetmark_controller.identity.registry import Registry
from fleetmark_controller.operations.effects import Effects, OfferEffect, StopEffect, TailEffect
from fleetmark_controller.scheduling.presence import Presence
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.security import identities
from fleetmark_core.clock import now_monotonic_ns

Outbox = Callable[[OfferEffect | StopEffect | TailEffect], None]


class DeviceStreams:
    """Sessions of devices, their outboxes, and the features of each agent."""

    def __init__(
        self,
        reader: Reader,
        presence: Presence,
        registry: Registry,
        scheduling_wanted: asyncio.Event,
    ) -> None:
        """Start without connected devices."""
        self._reader = reader
        self._presence = presence
        self._registry = registry
        self._scheduling_wanted = scheduling_wanted
        self._outboxes: dict[str, Outbox] = {}
        self.features: dict[str, frozenset[str]] = {}
        """Features that each device's agent supports, as of its last hello."""
        self.logs = LogTailHub(self.send)

    def open(
        self,
        device_id: str,
        boot_id: str,
        idle: bool,
        outbox: Outbox,
        features: frozenset[str] = frozenset(),
    ) -> int:
        """Register a device's stream, and return the session number.

        Args:
            device_id: the device.
            boot_id: the boot id of its agent process.
            idle: whether the device reports idle.
            outbox: receives the messages to the device.
            features: the features that the agent supports.
        """
        self._outboxes[device_id] = outbox
        self.features[device_id] = features
        self.logs.is_back(device_id)
        return self._presence.connected(device_id, boot_id, idle, now_monotonic_ns())

    def close(self, device_id: str, session: int) -> None:
        """Unregister a stream that ended; the device's lease continues."""
        if self._presence.current(device_id, session):
            self._outboxes.pop(device_id, None)
        self._presence.disconnected(device_id, session)

    def alive(self, device_id: str, session: int) -> None:
        """Extend the lease after any message from the device."""
        self._presence.alive(device_id, session, now_monotonic_ns())

    def heartbeat(self, device_id: str, session: int, idle: bool) -> None:
        """Process a heartbeat; request scheduling if the device became idle."""
        if self._presence.heartbeat(device_id, session, idle, now_monotonic_ns()):
            self._scheduling_wanted.set()

    def send(self, message: OfferEffect | StopEffect | TailEffect) -> None:
        """Send a message to its device if it is connected.

        Otherwise the reply to its next hello takes the place of the message.
        """
        outbox = self._outboxes.get(message.key.device_id)
        if outbox is not None:
            outbox(message)

    async def refresh_identities(self, effects: Effects) -> None:
        """Reload identities that changed; drop the streams of those that are no longer active."""
        if not effects.identities:
            return
        changed = set(effects.identities)
        found = await self._reader.run(lambda c: identities.list_by_ids(c, changed))
        for identity in found:
            if identity.state is not IdentityState.ACTIVE:
                self._presence.remove(identity.identity_id)
                self._outboxes.pop(identity.identity_id, None)
        self._registry.update(found)

    async def send_messages(self, effects: Effects) -> None:
        """Send stop and offer messages to their devices."""
        for stop in effects.stops:
            self.send(stop)
        for offer in effects.offers:
            self.send(offer)
            self._presence.mark_busy(offer.key.device_id)
