"""Fleet: the devices, as people see them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from fleetmark_controller.clock import now_monotonic_ns, now_unix_ns
from fleetmark_controller.engine import Engine
from fleetmark_controller.queries import matching, named
from fleetmark_controller.services import convert, edge
from fleetmark_controller.services.fleet_care import FleetCare
from fleetmark_controller.store import care, devices, history, listings
from fleetmark_controller.store.care import Care
from fleetmark_controller.store.devices import Device
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

    @edge.unary
    async def ListDevices(
        self, request: fleet_pb2.ListDevicesRequest, context: edge.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Devices that a selector matches, by name."""
        return self._reply(
            await self._engine.reader.run(lambda c: _known(c, matching(c, request.selector)))
        )

    @edge.unary
    async def ShowDevice(
        self, request: fleet_pb2.ShowDeviceRequest, context: edge.Context
    ) -> fleet_pb2.DeviceDetail:
        """One device with its history."""

        def read(
            connection: sqlite3.Connection,
        ) -> tuple[_Known, list[tuple[str, str]], dict[str, int]]:
            device = named(connection, request.name)
            return (
                _known(connection, [device]),
                history.changes(connection, device.device_id),
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
        return fleet_pb2.ListDevicesReply(
            devices=[self._message(device, known) for device in known.devices]
        )

    def _message(self, device: Device, known: _Known) -> fleet_pb2.Device:
        engine, device_id = self._engine, device.device_id
        seat = engine.presence.seat(device_id)
        status = engine.presence.status(device_id, now_monotonic_ns())
        job_id, configuration = known.jobs.get(device_id, ("", ""))
        activity = "busy" if job_id else "idle" if seat is not None and seat.idle else ""
        message = fleet_pb2.Device(
            device_id=device_id,
            name=device.name,
            presence=status.value,
            activity=activity,
            labels=device.labels,
            capabilities=convert.capabilities_to(device.capabilities),
            agent_version=device.agent_version,
            registered_at=device.registered_at,
            last_seen_at=device.last_seen_at,
            job_id=job_id,
            configuration=configuration,
            care=self._care(known.care.get(device_id, Care())),
        )
        now = engine.latest.get(device_id)
        if now is not None and now.job_id == job_id:
            message.progress.CopyFrom(
                common_pb2.Progress(phase=now.phase, done=now.done, total=now.total)
            )
            if now.temperature_c is not None:
                message.temperature_c = now.temperature_c
        return message

    def _care(self, known: Care) -> fleet_pb2.Care:
        reserved = care.reserved_until_ns(known) > now_unix_ns()
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


def _known(connection: sqlite3.Connection, found: list[Device]) -> _Known:
    return _Known(found, listings.active_jobs(connection), care.every(connection))
