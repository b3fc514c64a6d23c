"""Fleet: the devices, as people see them."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import dataclass
from typing import Any

from fleetmark_controller.api import auth, error_handling
from fleetmark_controller.api.fleet_admin import FleetCare
from fleetmark_controller.engine.engine import Engine, JobEvent
from fleetmark_controller.identity.model import Identity, Kind, State
from fleetmark_controller.operations import enrollment
from fleetmark_controller.planning.device import Device
from fleetmark_controller.store.devices import capability_history, device_admin, devices
from fleetmark_controller.store.devices.device_admin import Care
from fleetmark_controller.store.devices.selection import matching, named
from fleetmark_controller.store.jobs import listings
from fleetmark_controller.store.security import identities
from fleetmark_core.clock import now_monotonic_ns, now_unix_ns
from fleetmark_core.serde import to_plain
from fleetmark_protos.v1 import common_pb2, fleet_pb2, fleet_pb2_grpc


@dataclass(frozen=True)
class _Known:
    """What the store says of some devices."""

    devices: list[Device]
    jobs: dict[str, tuple[str, str]]
    care: dict[str, Care]


class FleetService(FleetCare, fleet_pb2_grpc.FleetServicer):
    """Serves the registry joined with presence."""

    def __init__(self, engine: Engine) -> None:
        """Serves one engine."""
        self._engine = engine

    @error_handling.unary
    async def ListDevices(
        self, request: fleet_pb2.ListDevicesRequest, context: error_handling.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Devices that a selector matches, by name."""

        def read(connection: sqlite3.Connection) -> tuple[_Known, list[Identity]]:
            return (
                _known(connection, matching(connection, request.selector)),
                [] if request.selector else identities.every(connection, Kind.DEVICE),
            )

        known, applied = await self._engine.reader.run(read)
        # Thousands of boards take a while: in a thread, so that no heartbeat waits for them.
        return await asyncio.to_thread(self._listing, known, applied)

    def _listing(self, known: _Known, applied: list[Identity]) -> fleet_pb2.ListDevicesReply:
        members = [self._values(device, known) for device in known.devices]
        listed = {values["device_id"] for values in members}
        others = [
            {
                "device_id": identity.identity_id,
                "name": identity.name,
                "presence": "offline",
                "labels": identity.labels,
                "registered_at": identity.created_at,
                "enrolment": identity.state.value,
                "fingerprint": identity.key_sha256,
            }
            for identity in applied
            if identity.identity_id not in listed and identity.state is not State.REMOVED
        ]
        return _reply(sorted([*members, *others], key=lambda values: str(values["name"])))

    @error_handling.unary
    async def Approve(
        self, request: fleet_pb2.ApproveRequest, context: error_handling.Context
    ) -> fleet_pb2.ApproveReply:
        """Take a pending device into the fleet."""
        who = auth.who()
        identity = await self._engine.perform(
            lambda c, fx, now: enrollment.approve(
                c, fx, now, who, request.name, request.fingerprint
            )
        )
        return fleet_pb2.ApproveReply(device_id=identity.identity_id)

    @error_handling.unary
    async def Revoke(
        self, request: fleet_pb2.RevokeRequest, context: error_handling.Context
    ) -> fleet_pb2.RevokeReply:
        """End a device's key."""
        identity, _ = await self._end(request.name, remove=False)
        return fleet_pb2.RevokeReply(device_id=identity.identity_id)

    @error_handling.unary
    async def Remove(
        self, request: fleet_pb2.RemoveRequest, context: error_handling.Context
    ) -> fleet_pb2.RemoveReply:
        """End a device's key, and list the device no more."""
        identity, cancelled = await self._end(request.name, remove=True)
        return fleet_pb2.RemoveReply(device_id=identity.identity_id, cancelled=cancelled)

    async def _end(self, name: str, *, remove: bool) -> tuple[Identity, int]:
        who = auth.who()
        return await self._engine.perform(
            lambda c, fx, now: enrollment.end_device(c, fx, now, who, name, remove=remove)
        )

    @error_handling.unary
    async def ShowDevice(
        self, request: fleet_pb2.ShowDeviceRequest, context: error_handling.Context
    ) -> fleet_pb2.DeviceDetail:
        """One device with its history."""

        def read(
            connection: sqlite3.Connection,
        ) -> tuple[_Known, list[tuple[str, str]], dict[str, int]]:
            device = named(connection, request.name)
            return (
                _known(connection, [device]),
                capability_history.changes(connection, device.device_id),
                listings.job_states_on(connection, device.device_id),
            )

        known, changes, counts = await self._engine.reader.run(read)
        return fleet_pb2.DeviceDetail(
            device=self._reply(known).devices[0],
            history=[fleet_pb2.DeviceChange(at=at, what=what) for at, what in changes],
            jobs_by_state=counts,
        )

    async def _listed(self, device_ids: list[str]) -> fleet_pb2.ListDevicesReply:
        def read(connection: sqlite3.Connection) -> _Known:
            found = [d for i in device_ids if (d := devices.get(connection, i)) is not None]
            return _known(connection, found)

        return self._reply(await self._engine.reader.run(read))

    def _reply(self, known: _Known) -> fleet_pb2.ListDevicesReply:
        return _reply([self._values(device, known) for device in known.devices])

    def _values(self, device: Device, known: _Known) -> dict[str, Any]:
        """The fields of a device's message."""
        engine, device_id = self._engine, device.device_id
        identity = engine.registry.get(device_id)
        seat = engine.presence.seat(device_id)
        status = engine.presence.status(device_id, now_monotonic_ns())
        job_id, configuration = known.jobs.get(device_id, ("", ""))
        activity = "busy" if job_id else "idle" if seat is not None and seat.idle else ""
        now = engine.latest.get(device_id)
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
            "enrolment": identity.state.value if identity else "",
            "fingerprint": identity.key_sha256 if identity else "",
            "configuration": configuration,
            "care": self._care(known.care.get(device_id, Care())),
            "progress": None if now is None else _progress(now),
            "temperature_c": None if now is None else now.temperature_c,
        }

    def _care(self, known: Care) -> fleet_pb2.Care:
        reserved = device_admin.reserved_until_ns(known) > now_unix_ns()
        after = self._engine.settings.quarantine_after
        return fleet_pb2.Care(
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
        # Made where it stays: a list of messages would be copied.
        reply.devices.add(**values)
    return reply


def _progress(now: JobEvent) -> common_pb2.Progress:
    return common_pb2.Progress(phase=now.phase, done=now.done, total=now.total)


def _known(connection: sqlite3.Connection, found: list[Device]) -> _Known:
    return _Known(found, listings.active_jobs(connection), device_admin.every(connection))
