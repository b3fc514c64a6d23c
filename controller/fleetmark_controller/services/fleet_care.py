"""Fleet, the part that changes something: decisions about devices, and saved fleets."""

from __future__ import annotations

from fleetmark_controller.clock import NS_PER_S, now_monotonic_ns
from fleetmark_controller.engine import Engine, Operation
from fleetmark_controller.operations import fleet
from fleetmark_controller.services import edge
from fleetmark_controller.store import saved
from fleetmark_protos.v1 import fleet_pb2


class FleetCare:
    """Half of the Fleet service; `services.fleet` has the other."""

    _engine: Engine

    async def _listed(self, device_ids: list[str]) -> fleet_pb2.ListDevicesReply:
        raise NotImplementedError

    async def _decide(self, operation: Operation[list[str]]) -> fleet_pb2.ListDevicesReply:
        return await self._listed(await self._engine.perform(operation))

    @edge.unary
    async def Label(
        self, request: fleet_pb2.LabelRequest, context: edge.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Set and take away labels."""
        changes: dict[str, str | None] = {**dict.fromkeys(request.unset), **dict(request.set)}
        return await self._decide(
            lambda c, fx, now: fleet.label(c, fx, now, request.names, changes)
        )

    @edge.unary
    async def Drain(
        self, request: fleet_pb2.DrainRequest, context: edge.Context
    ) -> fleet_pb2.ListDevicesReply:
        """No further jobs."""
        reason = request.reason[:200]
        return await self._decide(lambda c, fx, now: fleet.drain(c, fx, now, request.names, reason))

    @edge.unary
    async def Resume(
        self, request: fleet_pb2.ResumeRequest, context: edge.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Jobs again."""
        return await self._decide(lambda c, fx, now: fleet.resume(c, fx, now, request.names))

    @edge.unary
    async def Reserve(
        self, request: fleet_pb2.ReserveRequest, context: edge.Context
    ) -> fleet_pb2.ListDevicesReply:
        """One person's jobs only."""
        who, for_s = request.who[:100], request.for_ns / NS_PER_S
        return await self._decide(
            lambda c, fx, now: fleet.reserve(c, fx, now, request.names, who, for_s)
        )

    @edge.unary
    async def Rename(
        self, request: fleet_pb2.RenameRequest, context: edge.Context
    ) -> fleet_pb2.ListDevicesReply:
        """Another name."""
        return await self._decide(
            lambda c, fx, now: fleet.rename(c, fx, now, request.name, request.new_name)
        )

    @edge.unary
    async def Remove(
        self, request: fleet_pb2.RemoveRequest, context: edge.Context
    ) -> fleet_pb2.RemoveReply:
        """Forget devices that are offline."""
        seen = self._engine.presence.seen(now_monotonic_ns())
        present = {name: what.status for name, what in seen.items() if what.status != "offline"}
        names, cancelled = await self._engine.perform(
            lambda c, fx, now: fleet.remove(c, fx, now, request.names, present)
        )
        return fleet_pb2.RemoveReply(names=names, cancelled=cancelled)

    @edge.unary
    async def SaveFleet(
        self, request: fleet_pb2.SavedFleet, context: edge.Context
    ) -> fleet_pb2.SavedFleet:
        """Keep a selector."""
        await self._engine.perform(
            lambda c, fx, now: fleet.save(c, fx, now, request.name, request.selector)
        )
        return request

    @edge.unary
    async def ForgetFleet(
        self, request: fleet_pb2.ForgetFleetRequest, context: edge.Context
    ) -> fleet_pb2.ForgetFleetReply:
        """Forget a selector."""
        await self._engine.perform(lambda c, fx, now: fleet.forget(c, fx, now, request.name))
        return fleet_pb2.ForgetFleetReply()

    @edge.unary
    async def ListSaved(
        self, request: fleet_pb2.ListSavedRequest, context: edge.Context
    ) -> fleet_pb2.ListSavedReply:
        """All saved selectors."""
        known = await self._engine.reader.run(saved.every)
        return fleet_pb2.ListSavedReply(
            fleets=[fleet_pb2.SavedFleet(name=n, selector=s) for n, s in known.items()]
        )
