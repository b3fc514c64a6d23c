"""Devices as shown to operators: stored facts combined with presence and progress."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.engine.job_watch import JobEvent
from fleetmark_controller.identity.model import Identity, IdentityState
from fleetmark_controller.planning.device import Device
from fleetmark_controller.store.devices import device_admin, devices
from fleetmark_controller.store.devices.device_admin import DeviceAdminState
from fleetmark_controller.store.jobs import listings
from fleetmark_core.clock import now_monotonic_ns, now_unix_ns
from fleetmark_core.serde import to_plain
from fleetmark_protos.v1 import common_pb2, fleet_pb2


@dataclass(frozen=True)
class StoredDevices:
    """The stored facts of some devices."""

    devices: list[Device]
    jobs: dict[str, tuple[str, str]]
    care: dict[str, DeviceAdminState]


def stored(connection: sqlite3.Connection, found: list[Device]) -> StoredDevices:
    """Read the stored facts of these devices besides the devices themselves."""
    return StoredDevices(found, listings.active_jobs(connection), device_admin.list_all(connection))


class DeviceView:
    """Builder of the messages about devices, for every call that returns devices."""

    def __init__(self, engine: Engine) -> None:
        """Show the devices of one engine."""
        self._engine = engine

    async def list_reply(self, device_ids: list[str]) -> fleet_pb2.ListDevicesReply:
        """Return the devices with these ids; unknown ids are skipped."""

        def read(connection: sqlite3.Connection) -> StoredDevices:
            found = [d for i in device_ids if (d := devices.get(connection, i)) is not None]
            return stored(connection, found)

        return self.reply(await self._engine.reader.run(read))

    def reply(self, known: StoredDevices) -> fleet_pb2.ListDevicesReply:
        """Return the message about devices, in their order."""
        return _reply([self._values(device, known) for device in known.devices])

    def fleet(self, known: StoredDevices, applied: list[Identity]) -> fleet_pb2.ListDevicesReply:
        """Return the whole fleet by name, with the devices that enrolled but never connected."""
        members = [self._values(device, known) for device in known.devices]
        listed = {values["device_id"] for values in members}
        others = [
            {
                "device_id": identity.identity_id,
                "name": identity.name,
                "presence": "offline",
                "labels": identity.labels,
                "registered_at": identity.created_at,
                "enrollment": identity.state.value,
                "fingerprint": identity.key_sha256,
            }
            for identity in applied
            if identity.identity_id not in listed and identity.state is not IdentityState.REMOVED
        ]
        return _reply(sorted([*members, *others], key=lambda values: str(values["name"])))

    def _values(self, device: Device, known: StoredDevices) -> dict[str, Any]:
        """Return the fields of a device's message."""
        engine, device_id = self._engine, device.device_id
        identity = engine.registry.get(device_id)
        seat = engine.presence.seat(device_id)
        status = engine.presence.status(device_id, now_monotonic_ns())
        job_id, configuration = known.jobs.get(device_id, ("", ""))
        activity = "busy" if job_id else "idle" if seat is not None and seat.idle else ""
        now = engine.jobs.latest.get(device_id)
        if now is not None and now.job_id != job_id:
            now = None
        return {
            "device_id": device_id,
            "name": device.name,
            "presence": status.value,
            "activity": activity,
            "labels": device.labels,
            "capabilities": to_plain(device.capabilities),
            "agent_version": device.agent_version,
            "registered_at": device.registered_at,
            "last_seen_at": device.last_seen_at,
            "job_id": job_id,
            "enrollment": identity.state.value if identity else "",
            "fingerprint": identity.key_sha256 if identity else "",
            "configuration": configuration,
            "admin": self._admin(known.care.get(device_id, DeviceAdminState())),
            "progress": None if now is None else _progress(now),
            "temperature_c": None if now is None else now.temperature_c,
        }

    def _admin(self, known: DeviceAdminState) -> fleet_pb2.DeviceAdmin:
        reserved = device_admin.reserved_until_ns(known) > now_unix_ns()
        after = self._engine.settings.quarantine_after
        return fleet_pb2.DeviceAdmin(
            drained_at=known.drained_at,
            drain_reason=known.drain_reason,
            reserved_for=known.reserved_for if reserved else "",
            reserved_until=known.reserved_until if reserved else "",
            failures=known.failures,
            last_failure=known.last_failure,
            quarantined=0 < after <= known.failures,
            check_campaign=known.check_campaign,
        )


def _reply(devices: list[dict[str, Any]]) -> fleet_pb2.ListDevicesReply:
    reply = fleet_pb2.ListDevicesReply()
    for values in devices:
        # Build each message in place: a list of messages would be copied.
        reply.devices.add(**values)
    return reply


def _progress(now: JobEvent) -> common_pb2.Progress:
    return common_pb2.Progress(phase=now.phase, done=now.done, total=now.total)
