"""Service Fleet: the devices, and operations on them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

from fleetmark_catalog.resolve import system_component
from fleetmark_controller.api import auth, error_handling, serde, validation
from fleetmark_controller.api.capability_serde import capabilities_from, capabilities_to
from fleetmark_controller.api.device_view import DeviceView, StoredDevices, stored
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.engine.transactions import Operation
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.model import Identity, IdentityKind
from fleetmark_controller.operations import device_admin, enrollment, offline
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning.device import Device
from fleetmark_controller.store.devices import (
    capability_history,
    descriptions,
    saved_fleets,
)
from fleetmark_controller.store.devices.device_admin import Hold
from fleetmark_controller.store.devices.selection import matching, named
from fleetmark_controller.store.jobs import listings
from fleetmark_controller.store.security import audit, identities
from fleetmark_core.bundle_file import parse_device_identity, parse_signed_by_device
from fleetmark_core.clock import NS_PER_S, now_monotonic_ns
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.serde import to_plain
from fleetmark_protos.v1 import fleet_pb2, fleet_pb2_grpc

_HOLDS = {
    fleet_pb2.HOLD_ALL: tuple(Hold),
    fleet_pb2.HOLD_DRAIN: (Hold.DRAIN,),
    fleet_pb2.HOLD_RESERVATION: (Hold.RESERVATION,),
    fleet_pb2.HOLD_QUARANTINE: (Hold.QUARANTINE,),
}


class FleetService(fleet_pb2_grpc.FleetServicer):
    """Service for the registry of devices and for operations on devices."""

    def __init__(self, engine: Engine) -> None:
        """Serve one engine."""
        self._engine = engine
        self._view = DeviceView(engine)

    @error_handling.unary
    async def ListDevices(
        self, request: fleet_pb2.ListDevicesRequest, context: error_handling.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Return the devices that a selector matches, by name."""
        online = self._engine.presence.online_ids(now_monotonic_ns())

        def read(connection: sqlite3.Connection) -> tuple[StoredDevices, list[Identity]]:
            return (
                stored(connection, matching(connection, request.selector, online)),
                [] if request.selector else identities.list_all(connection, IdentityKind.DEVICE),
            )

        known, applied = await self._engine.reader.run(read)
        # Build large replies in a thread, so that heartbeats do not wait for them.
        return await asyncio.to_thread(self._view.fleet, known, applied)

    @error_handling.unary
    async def ShowDevice(
        self, request: fleet_pb2.ShowDeviceRequest, context: error_handling.Context
    ) -> fleet_pb2.DeviceDetail:
        """Return one device with its history."""

        def read(
            connection: sqlite3.Connection,
        ) -> tuple[StoredDevices, list[tuple[str, str]], dict[str, int]]:
            device = named(connection, request.name)
            return (
                stored(connection, [device]),
                capability_history.changes(connection, device.device_id),
                listings.job_states_on(connection, device.device_id),
            )

        known, changes, counts = await self._engine.reader.run(read)
        return fleet_pb2.DeviceDetail(
            device=self._view.reply(known).devices[0],
            history=[fleet_pb2.DeviceChange(at=at, what=what) for at, what in changes],
            jobs_by_state=counts,
        )

    @error_handling.unary
    async def Approve(
        self, request: fleet_pb2.ApproveRequest, context: error_handling.Context
    ) -> fleet_pb2.ApproveReply:
        """Approve a pending device."""
        who = auth.caller_label()
        identity = await self._engine.transactions.run_operation(
            lambda c, fx, now: enrollment.approve(
                c, fx, now, who, request.name, request.fingerprint
            )
        )
        return fleet_pb2.ApproveReply(device_id=identity.identity_id)

    @error_handling.unary
    async def Revoke(
        self, request: fleet_pb2.RevokeRequest, context: error_handling.Context
    ) -> fleet_pb2.RevokeReply:
        """Revoke a device's key."""
        identity, _ = await self._end(request.name, remove=False)
        return fleet_pb2.RevokeReply(device_id=identity.identity_id)

    @error_handling.unary
    async def Remove(
        self, request: fleet_pb2.RemoveRequest, context: error_handling.Context
    ) -> fleet_pb2.RemoveReply:
        """Revoke a device's key, and remove the device from listings."""
        identity, cancelled = await self._end(request.name, remove=True)
        return fleet_pb2.RemoveReply(device_id=identity.identity_id, cancelled=cancelled)

    async def _end(self, name: str, *, remove: bool) -> tuple[Identity, int]:
        who = auth.caller_label()
        return await self._engine.transactions.run_operation(
            lambda c, fx, now: enrollment.end_device(c, fx, now, who, name, remove=remove)
        )

    @error_handling.unary
    async def AddDevice(
        self, request: fleet_pb2.AddDeviceRequest, context: error_handling.Context
    ) -> fleet_pb2.AddDeviceReply:
        """Register a device without network from a file that its agent wrote."""
        envelope = parse_signed_by_device(request.document)
        key = certificates.check_document(envelope.signed, envelope.csr, envelope.signature)
        identity_file = parse_device_identity(envelope.signed)
        # Convert the capabilities to a message and back, so that they pass the same limits as a
        # hello. Check numbers first, with their names, because a message cannot hold all of them.
        validation.facts(to_plain(identity_file.capabilities))
        facts = capabilities_from(capabilities_to(identity_file.capabilities))
        name = serde.name_from(request.name or identity_file.name)
        device_id = serde.device_id_from(identity_file.device_id)
        version = validation.text(identity_file.agent_version, validation.MAX_ID)
        who = auth.caller_label()
        identity = await self._engine.transactions.run_operation(
            lambda c, fx, now: offline.add_device(
                c,
                fx,
                now,
                who,
                device_id=device_id,
                name=name,
                capabilities=facts,
                agent_version=version,
                key_sha256=key.key_sha256,
            )
        )
        return fleet_pb2.AddDeviceReply(
            device_id=identity.identity_id, name=identity.name, fingerprint=identity.key_sha256
        )

    @error_handling.unary
    async def Label(
        self, request: fleet_pb2.LabelRequest, context: error_handling.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Set and remove labels."""
        changes: dict[str, str | None] = {**dict.fromkeys(request.unset), **dict(request.set)}
        return await self._decide(
            "device.label",
            request.names,
            lambda c, fx, now: device_admin.label(c, fx, now, request.names, changes),
            labels=changes,
        )

    @error_handling.unary
    async def Drain(
        self, request: fleet_pb2.DrainRequest, context: error_handling.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Drain devices, so that they get no further jobs."""
        reason = request.reason[:200]
        return await self._decide(
            "device.drain",
            request.names,
            lambda c, fx, now: device_admin.drain(c, fx, now, request.names, reason),
            reason=reason,
        )

    @error_handling.unary
    async def Resume(
        self, request: fleet_pb2.ResumeRequest, context: error_handling.Context
    ) -> fleet_pb2.ListDevicesReply:
        """End holds of devices, so that they get jobs again."""
        holds = _HOLDS.get(request.hold)
        if holds is None:
            raise FleetmarkError(ErrorKind.USAGE, f"unknown hold {request.hold}")
        return await self._decide(
            "device.resume",
            request.names,
            lambda c, fx, now: device_admin.resume(c, fx, now, request.names, holds),
            holds=[hold.value for hold in holds],
        )

    @error_handling.unary
    async def Reserve(
        self, request: fleet_pb2.ReserveRequest, context: error_handling.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Reserve devices for the jobs of the calling operator."""
        who, for_s = auth.operator_name(), request.duration_ns / NS_PER_S
        return await self._decide(
            "device.reserve",
            request.names,
            lambda c, fx, now: device_admin.reserve(c, fx, now, request.names, who, for_s),
            reserved_for=who,
            for_s=for_s,
        )

    @error_handling.unary
    async def Rename(
        self, request: fleet_pb2.RenameRequest, context: error_handling.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Rename a device."""
        return await self._decide(
            "device.rename",
            [request.name],
            lambda c, fx, now: device_admin.rename(c, fx, now, request.name, request.new_name),
            new_name=request.new_name,
        )

    @error_handling.unary
    async def SetDescription(
        self, request: fleet_pb2.SetDescriptionRequest, context: error_handling.Context
    ) -> fleet_pb2.Description:
        """Set or remove fields of a device's MLPerf system description."""
        changes: dict[str, str | None] = {**dict.fromkeys(request.unset), **dict(request.set)}
        await self._decide(
            "device.describe",
            [request.name],
            lambda c, fx, now: device_admin.describe(c, fx, now, request.name, changes),
            fields=changes,
        )
        return await self._description(request.name)

    @error_handling.unary
    async def GetDescription(
        self, request: fleet_pb2.GetDescriptionRequest, context: error_handling.Context
    ) -> fleet_pb2.Description:
        """Return what operators and the catalog state about a device."""
        return await self._description(request.name)

    @error_handling.unary
    async def SetSelector(
        self, request: fleet_pb2.SavedSelector, context: error_handling.Context
    ) -> fleet_pb2.SavedSelector:
        """Save a selector under a name."""
        who = auth.caller_label()

        def save(c: sqlite3.Connection, fx: Effects, now: int) -> None:
            device_admin.save(c, fx, now, request.name, request.selector)
            audit.add(c, now, who, "fleet.save", request.name, selector=request.selector)

        await self._engine.transactions.run_operation(save)
        return request

    @error_handling.unary
    async def DeleteSelector(
        self, request: fleet_pb2.DeleteSelectorRequest, context: error_handling.Context
    ) -> fleet_pb2.DeleteSelectorReply:
        """Delete a saved selector."""
        who = auth.caller_label()

        def forget(c: sqlite3.Connection, fx: Effects, now: int) -> None:
            device_admin.forget(c, fx, now, request.name)
            audit.add(c, now, who, "fleet.forget", request.name)

        await self._engine.transactions.run_operation(forget)
        return fleet_pb2.DeleteSelectorReply()

    @error_handling.unary
    async def ListSelectors(
        self, request: fleet_pb2.ListSelectorsRequest, context: error_handling.Context
    ) -> fleet_pb2.ListSelectorsReply:
        """Return all saved selectors."""
        known = await self._engine.reader.run(saved_fleets.list_all)
        return fleet_pb2.ListSelectorsReply(
            selectors=[fleet_pb2.SavedSelector(name=n, selector=s) for n, s in known.items()]
        )

    async def _decide(
        self, act: str, names: Sequence[str], operation: Operation[list[str]], **detail: Any
    ) -> fleet_pb2.ListDevicesReply:
        """Perform an operation, with its row in the audit log, and return the devices."""
        who = auth.caller_label()

        def decide(c: sqlite3.Connection, fx: Effects, now: int) -> list[str]:
            found = operation(c, fx, now)
            audit.add(c, now, who, act, ", ".join(names), devices=found, **detail)
            return found

        return await self._view.list_reply(await self._engine.transactions.run_operation(decide))

    async def _description(self, name: str) -> fleet_pb2.Description:
        def read(connection: sqlite3.Connection) -> tuple[Device, dict[str, str]]:
            device = named(connection, name)
            return device, descriptions.get_for_device(connection, device.device_id)

        device, given = await self._engine.reader.run(read)
        system = system_component(self._engine.catalog, device.capabilities)
        known = system.body["mlperf"] if system is not None else {}
        return fleet_pb2.Description(
            device_id=device.device_id,
            operator_fields=given,
            component=system.name if system is not None else "",
            catalog_fields={field: str(value) for field, value in known.items()},
        )
