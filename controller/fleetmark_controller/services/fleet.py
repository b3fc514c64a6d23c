"""Fleet: the devices, as people see them."""

from __future__ import annotations

import sqlite3

from fleetmark_controller.clock import now_monotonic_ns
from fleetmark_controller.engine import Engine
from fleetmark_controller.identity.rules import Kind, State
from fleetmark_controller.operations import enrolling
from fleetmark_controller.queries import matching
from fleetmark_controller.services import convert, edge, guard
from fleetmark_controller.store import identities, listings
from fleetmark_controller.store.devices import Device
from fleetmark_controller.store.identities import Identity
from fleetmark_protos.v1 import fleet_pb2, fleet_pb2_grpc


class FleetService(fleet_pb2_grpc.FleetServicer):
    """Serves the registry joined with presence."""

    def __init__(self, engine: Engine) -> None:
        """Serves one engine."""
        self._engine = engine

    @edge.unary
    async def ListDevices(
        self, request: fleet_pb2.ListDevicesRequest, context: edge.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Devices that a selector matches, by name."""

        def read(
            connection: sqlite3.Connection,
        ) -> tuple[list[Device], dict[str, str], list[Identity]]:
            return (
                matching(connection, request.selector),
                listings.active_job(connection),
                [] if request.selector else identities.every(connection, Kind.DEVICE),
            )

        found, active, known = await self._engine.reader.run(read)
        members = [self._message(device, active.get(device.device_id, "")) for device in found]
        listed = {device.device_id for device in found}
        others = [
            fleet_pb2.Device(
                device_id=identity.identity_id,
                name=identity.name,
                presence="offline",
                labels=identity.labels,
                registered_at=identity.created_at,
                enrolment=identity.state.value,
                fingerprint=identity.key_sha256,
            )
            for identity in known
            if identity.identity_id not in listed and identity.state is not State.REMOVED
        ]
        return fleet_pb2.ListDevicesReply(
            devices=sorted([*members, *others], key=lambda device: device.name)
        )

    @edge.unary
    async def Approve(
        self, request: fleet_pb2.ApproveRequest, context: edge.Context
    ) -> fleet_pb2.ApproveReply:
        """Take a pending device into the fleet."""
        who = guard.who()
        identity = await self._engine.perform(
            lambda c, fx, now: enrolling.approve(c, fx, now, who, request.name, request.fingerprint)
        )
        return fleet_pb2.ApproveReply(device_id=identity.identity_id)

    @edge.unary
    async def Revoke(
        self, request: fleet_pb2.RevokeRequest, context: edge.Context
    ) -> fleet_pb2.RevokeReply:
        """End a device's key."""
        return fleet_pb2.RevokeReply(device_id=await self._end(request.name, remove=False))

    @edge.unary
    async def Remove(
        self, request: fleet_pb2.RemoveRequest, context: edge.Context
    ) -> fleet_pb2.RemoveReply:
        """End a device's key, and list the device no more."""
        return fleet_pb2.RemoveReply(device_id=await self._end(request.name, remove=True))

    async def _end(self, name: str, *, remove: bool) -> str:
        who = guard.who()
        identity = await self._engine.perform(
            lambda c, fx, now: enrolling.end_device(c, fx, now, who, name, remove=remove)
        )
        return identity.identity_id

    def _message(self, device: Device, job_id: str) -> fleet_pb2.Device:
        presence = self._engine.presence
        identity = self._engine.registry.get(device.device_id)
        seat = presence.seat(device.device_id)
        status = presence.status(device.device_id, now_monotonic_ns())
        activity = "busy" if job_id else "idle" if seat is not None and seat.idle else ""
        return fleet_pb2.Device(
            device_id=device.device_id,
            name=device.name,
            presence=status.value,
            activity=activity,
            labels=device.labels,
            capabilities=convert.capabilities_to(device.capabilities),
            agent_version=device.agent_version,
            registered_at=device.registered_at,
            last_seen_at=device.last_seen_at,
            job_id=job_id,
            enrolment=identity.state.value if identity else "",
            fingerprint=identity.key_sha256 if identity else "",
        )
