"""Fleet: the devices, as people see them."""

from __future__ import annotations

import sqlite3

from fleetmark_controller.clock import now_monotonic_ns
from fleetmark_controller.engine import Engine
from fleetmark_controller.queries import matching
from fleetmark_controller.services import convert, edge
from fleetmark_controller.store import listings
from fleetmark_controller.store.devices import Device
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

        def read(connection: sqlite3.Connection) -> tuple[list[Device], dict[str, str]]:
            return matching(connection, request.selector), listings.active_job(connection)

        found, active = await self._engine.reader.run(read)
        return fleet_pb2.ListDevicesReply(
            devices=[self._message(device, active.get(device.device_id, "")) for device in found]
        )

    def _message(self, device: Device, job_id: str) -> fleet_pb2.Device:
        presence = self._engine.presence
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
        )
