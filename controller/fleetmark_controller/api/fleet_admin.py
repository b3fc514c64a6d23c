"""Fleet, the part that changes something: decisions about devices, and saved fleets."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from fleetmark_catalog.resolve import board_type
from fleetmark_controller.api import auth, error_handling, serde, validation
from fleetmark_controller.api.capability_serde import capabilities_from, capabilities_to
from fleetmark_controller.engine.engine import Engine, Operation
from fleetmark_controller.identity import certificates
from fleetmark_controller.operations import device_admin, offline
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning.device import Device
from fleetmark_controller.store.devices import descriptions, saved_fleets
from fleetmark_controller.store.devices.selection import named
from fleetmark_controller.store.security import audit
from fleetmark_core.bundle_file import parse_board, parse_signed_by_board
from fleetmark_core.clock import NS_PER_S
from fleetmark_protos.v1 import fleet_pb2


class FleetCare:
    """Half of the Fleet service; `services.fleet` has the other."""

    _engine: Engine

    async def _listed(self, device_ids: list[str]) -> fleet_pb2.ListDevicesReply:
        raise NotImplementedError

    async def _decide(
        self, act: str, names: Sequence[str], operation: Operation[list[str]], **detail: Any
    ) -> fleet_pb2.ListDevicesReply:
        """Perform it, with its row in the audit log, and answer with the devices."""
        who = auth.who()

        def decide(c: sqlite3.Connection, fx: Effects, now: int) -> list[str]:
            found = operation(c, fx, now)
            audit.add(c, now, who, act, ", ".join(names), devices=found, **detail)
            return found

        return await self._listed(await self._engine.perform(decide))

    @error_handling.unary
    async def AddBoard(
        self, request: fleet_pb2.AddBoardRequest, context: error_handling.Context
    ) -> fleet_pb2.AddBoardReply:
        """Register a board that is on no network."""
        envelope = parse_signed_by_board(request.document)
        key = certificates.check_document(envelope.signed, envelope.csr, envelope.signature)
        said = parse_board(envelope.signed)
        # By way of the message: what a board says of itself passes the same bounds.
        facts = capabilities_from(capabilities_to(said.capabilities))
        name = serde.name_from(request.name or said.name)
        device_id, version = (
            validation.identifier(said.device_id, "a device id"),
            said.agent_version[:40],
        )
        who = auth.who()
        identity = await self._engine.perform(
            lambda c, fx, now: offline.add_board(
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
        return fleet_pb2.AddBoardReply(
            device_id=identity.identity_id, name=identity.name, fingerprint=identity.key_sha256
        )

    @error_handling.unary
    async def Label(
        self, request: fleet_pb2.LabelRequest, context: error_handling.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Set and take away labels."""
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
        """No further jobs."""
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
        """Jobs again."""
        return await self._decide(
            "device.resume",
            request.names,
            lambda c, fx, now: device_admin.resume(c, fx, now, request.names),
        )

    @error_handling.unary
    async def Reserve(
        self, request: fleet_pb2.ReserveRequest, context: error_handling.Context
    ) -> fleet_pb2.ListDevicesReply:
        """One person's jobs only."""
        who, for_s = auth.person(), request.for_ns / NS_PER_S
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
        """Another name."""
        return await self._decide(
            "device.rename",
            [request.name],
            lambda c, fx, now: device_admin.rename(c, fx, now, request.name, request.new_name),
            new_name=request.new_name,
        )

    @error_handling.unary
    async def Describe(
        self, request: fleet_pb2.DescribeRequest, context: error_handling.Context
    ) -> fleet_pb2.Description:
        """What MLPerf wants to know of a device: say it, or take it back."""
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
        """What people and the catalog say of a device."""
        return await self._description(request.name)

    async def _description(self, name: str) -> fleet_pb2.Description:
        def read(connection: sqlite3.Connection) -> tuple[Device, dict[str, str]]:
            device = named(connection, name)
            return device, descriptions.of(connection, device.device_id)

        device, given = await self._engine.reader.run(read)
        board = board_type(self._engine.catalog, device.capabilities)
        known = board.body["mlperf"] if board is not None else {}
        return fleet_pb2.Description(
            device_id=device.device_id,
            given=given,
            component=board.name if board is not None else "",
            known={field: str(value) for field, value in known.items()},
        )

    @error_handling.unary
    async def SaveFleet(
        self, request: fleet_pb2.SavedFleet, context: error_handling.Context
    ) -> fleet_pb2.SavedFleet:
        """Keep a selector."""
        who = auth.who()

        def save(c: sqlite3.Connection, fx: Effects, now: int) -> None:
            device_admin.save(c, fx, now, request.name, request.selector)
            audit.add(c, now, who, "fleet.save", request.name, selector=request.selector)

        await self._engine.perform(save)
        return request

    @error_handling.unary
    async def ForgetFleet(
        self, request: fleet_pb2.ForgetFleetRequest, context: error_handling.Context
    ) -> fleet_pb2.ForgetFleetReply:
        """Forget a selector."""
        who = auth.who()

        def forget(c: sqlite3.Connection, fx: Effects, now: int) -> None:
            device_admin.forget(c, fx, now, request.name)
            audit.add(c, now, who, "fleet.forget", request.name)

        await self._engine.perform(forget)
        return fleet_pb2.ForgetFleetReply()

    @error_handling.unary
    async def ListSaved(
        self, request: fleet_pb2.ListSavedRequest, context: error_handling.Context
    ) -> fleet_pb2.ListSavedReply:
        """All saved selectors."""
        known = await self._engine.reader.run(saved_fleets.every)
        return fleet_pb2.ListSavedReply(
            fleets=[fleet_pb2.SavedFleet(name=n, selector=s) for n, s in known.items()]
        )
