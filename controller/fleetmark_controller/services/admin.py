"""Admin: the controller itself."""

from __future__ import annotations

from fleetmark_controller import __version__
from fleetmark_controller.clock import iso
from fleetmark_controller.engine import Engine
from fleetmark_controller.services import edge
from fleetmark_protos import PROTOCOL_VERSION
from fleetmark_protos.v1 import admin_pb2, admin_pb2_grpc


class AdminService(admin_pb2_grpc.AdminServicer):
    """Says who this controller is."""

    def __init__(self, engine: Engine) -> None:
        """Serves one engine."""
        self._engine = engine

    @edge.unary
    async def GetInfo(
        self, request: admin_pb2.GetInfoRequest, context: edge.Context
    ) -> admin_pb2.ControllerInfo:
        """Id, version, protocol, start, devices online."""
        return admin_pb2.ControllerInfo(
            controller_id=self._engine.controller_id,
            version=__version__,
            protocol=PROTOCOL_VERSION,
            started_at=iso(self._engine.started_ns),
            devices_online=self._engine.presence.online(),
        )
