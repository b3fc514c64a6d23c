"""Catalog: what can run."""

from __future__ import annotations

from fleetmark_controller.engine import Engine
from fleetmark_controller.services import edge
from fleetmark_protos.v1 import catalog_pb2, catalog_pb2_grpc


class CatalogService(catalog_pb2_grpc.CatalogServicer):
    """Serves the loaded catalog."""

    def __init__(self, engine: Engine) -> None:
        """Serves one engine's catalog."""
        self._catalog = engine.catalog

    @edge.unary
    async def ListComponents(
        self, request: catalog_pb2.ListComponentsRequest, context: edge.Context
    ) -> catalog_pb2.ListComponentsReply:
        """Components of one kind, or all."""
        return catalog_pb2.ListComponentsReply(
            components=[
                catalog_pb2.Component(
                    kind=component.kind,
                    name=component.name,
                    version=component.version,
                    title=component.title,
                    tags=component.tags,
                    variations=sorted(component.variations),
                )
                for component in self._catalog.all(request.kind)
            ]
        )
