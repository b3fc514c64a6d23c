"""Runs a controller: home, store, engine, gRPC server, and an orderly end."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from pathlib import Path

import grpc

from fleetmark_catalog.core.errors import CatalogError
from fleetmark_controller import generation
from fleetmark_controller.bundling.catalogs import Catalogs
from fleetmark_controller.clock import NS_PER_S, now_unix_ns
from fleetmark_controller.engine import Engine
from fleetmark_controller.errors import from_catalog
from fleetmark_controller.home import Home
from fleetmark_controller.services.admin import AdminService
from fleetmark_controller.services.blobs import BlobsService
from fleetmark_controller.services.catalog import CatalogService
from fleetmark_controller.services.fleet import FleetService
from fleetmark_controller.services.jobs import JobsService
from fleetmark_controller.services.results import ResultsService
from fleetmark_controller.services.session import SessionService
from fleetmark_controller.settings import Settings, check_listen
from fleetmark_controller.store import meta
from fleetmark_controller.store.database import check_integrity, migrate
from fleetmark_protos.channel import server_options
from fleetmark_protos.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import (
    admin_pb2_grpc,
    blobs_pb2_grpc,
    catalog_pb2_grpc,
    fleet_pb2_grpc,
    jobs_pb2_grpc,
    results_pb2_grpc,
    session_pb2_grpc,
)

log = logging.getLogger("fleetmark.controller")
_GRACE_S = 2.0


async def serve(folder: Path, settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` gets the address once calls are answered.

    Raises:
        FleetmarkError: the home, the store, the catalog or the address cannot be used.
    """
    host, port = check_listen(settings.listen)
    catalogs = Catalogs(folder, [Path(place) for place in settings.catalogs])
    try:
        catalog = catalogs.load()
    except CatalogError as error:
        raise from_catalog(error) from error
    home = Home(folder)
    try:
        migrate(home.store)
        check_integrity(home.store)
        engine = Engine(home.store, home.blobs, settings, catalog)
        await engine.start(await _begin_generation(home, engine))
        server = grpc.aio.server(options=server_options())
        sessions = SessionService(engine)
        _register(server, engine, sessions, catalogs)
        address = f"{host}:{_bind(server, host, port)}"
        await server.start()
        home.write_endpoint(address)
        ready(address)
        await _until_told_to_stop()
        log.info("stopping")
        sessions.say_bye("the controller is stopping")
        engine.changes.close()
        await server.stop(_GRACE_S)
        await engine.stop()
    finally:
        home.close()


async def _begin_generation(home: Home, engine: Engine) -> int:
    stored = await engine.reader.run(meta.generation)
    chosen = generation.choose(stored, home.read_generation(), now_unix_ns() / NS_PER_S)
    home.write_generation(chosen)
    return chosen


def _register(
    server: grpc.aio.Server, engine: Engine, sessions: SessionService, catalogs: Catalogs
) -> None:
    session_pb2_grpc.add_SessionServicer_to_server(sessions, server)
    blobs_pb2_grpc.add_BlobsServicer_to_server(BlobsService(engine), server)
    results_pb2_grpc.add_ResultsServicer_to_server(ResultsService(engine), server)
    fleet_pb2_grpc.add_FleetServicer_to_server(FleetService(engine), server)
    jobs_pb2_grpc.add_JobsServicer_to_server(JobsService(engine), server)
    catalog_pb2_grpc.add_CatalogServicer_to_server(CatalogService(engine, catalogs), server)
    admin_pb2_grpc.add_AdminServicer_to_server(AdminService(engine), server)


def _bind(server: grpc.aio.Server, host: str, port: int) -> int:
    try:
        return server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise FleetmarkError(
            ErrorKind.ADDRESS_REFUSED,
            f"cannot listen on {host}:{port}: another program does",
            next_step="Stop it, or choose another port with --listen",
        ) from error


async def _until_told_to_stop() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
