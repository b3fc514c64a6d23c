"""Run a controller: home, store, engine, gRPC servers, and an orderly shutdown."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from fleetmark_controller.api import meter_logs
from fleetmark_controller.api.admin import AdminService
from fleetmark_controller.api.auth import AuthInterceptor, RefusalAuditor
from fleetmark_controller.api.blobs import BlobsService
from fleetmark_controller.api.catalog import CatalogService
from fleetmark_controller.api.enrollment import EnrollmentService
from fleetmark_controller.api.fleet import FleetService
from fleetmark_controller.api.jobs import JobsService
from fleetmark_controller.api.results import ResultsService
from fleetmark_controller.api.session import SessionService
from fleetmark_controller.artifacts.catalog_registry import Catalogs
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.home.device_address import (
    HostAddress,
    device_host,
    host_addresses,
    host_name_local,
    listen_fault,
    own_host,
)
from fleetmark_controller.home.endpoint import write_endpoint
from fleetmark_controller.home.settings import (
    ControllerSettings,
    check_listen,
    is_every_address,
    is_loopback,
)
from fleetmark_controller.identity.ca import Authority
from fleetmark_controller.identity.issuer import Issuer, local_key, write_local
from fleetmark_controller.lifecycle import fencing
from fleetmark_controller.operations import enrollment, operators
from fleetmark_controller.server import gc_policy, rlimits
from fleetmark_controller.server.connection_monitor import ConnectionMonitor
from fleetmark_controller.server.home import Home, unwritable_home_error
from fleetmark_controller.server.rlimits import ConnectionShares
from fleetmark_controller.signing.order_signer import OrderSigner
from fleetmark_controller.signing.release_store import ReleaseStore
from fleetmark_controller.store import epochs
from fleetmark_controller.store.db.connection import check_integrity, migrate
from fleetmark_controller.trial.trials import Trials
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.clock import NS_PER_S, now_unix_ns
from fleetmark_core.disk_space import is_disk_full
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_core.network_address import join_address
from fleetmark_protos.channel import entry_options, server_options
from fleetmark_protos.v1 import (
    admin_pb2_grpc,
    blobs_pb2_grpc,
    catalog_pb2_grpc,
    enrollment_pb2_grpc,
    fleet_pb2_grpc,
    jobs_pb2_grpc,
    results_pb2_grpc,
    session_pb2_grpc,
)

if TYPE_CHECKING:
    from fleetmark_controller.server.mdns_advertise import Advertisement

log = get_logger("fleetmark.controller")
_GRACE_S = 2.0
_SWITCH_S = 0.0005
"""Time that a thread holds Python's global interpreter lock while another thread waits for it.

Each statement of the store releases it. With the default of 5 ms, the store would wait that long
to get it back whenever the event loop is busy.
"""
_FIRST_TOKEN_S = 3600
_LOCAL_LIFE_S = 825 * 86_400


@dataclass(frozen=True)
class ServerInfo:
    """The addresses of a controller that is ready for calls."""

    address: str
    """Address at which commands on this host reach it."""
    device_address: str
    """Address at which devices reach it; empty if this host has no network."""
    token: str
    """Enrollment token for a first device; empty if none was requested."""


async def serve(
    folder: Path,
    settings: ControllerSettings,
    ready: Callable[[ServerInfo], None],
    *,
    with_token: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT; call `ready` once calls are answered.

    Raises:
        FleetmarkError: the home, the store, the catalog or the address cannot be used.
    """
    host, port = check_listen(settings.listen)
    shares = rlimits.share_connections(rlimits.raise_limit())
    sys.setswitchinterval(_SWITCH_S)
    home = Home(folder)
    try:
        async with AsyncExitStack() as stack:
            await _serve(home, settings, ready, stack, (host, port), shares, with_token=with_token)
    except OSError as error:
        inside = error.filename and Path(str(error.filename)).is_relative_to(folder)
        if inside or is_disk_full(error):
            raise unwritable_home_error(folder, error) from error
        raise
    finally:
        home.close()


async def _serve(
    home: Home,
    settings: ControllerSettings,
    ready: Callable[[ServerInfo], None],
    stack: AsyncExitStack,
    listen: tuple[str, int],
    shares: ConnectionShares | None,
    *,
    with_token: bool,
) -> None:
    """Serve a locked home. `stack` stops what was started, also if a later step fails."""
    folder, (host, port) = home.folder, listen
    for line in home.protect():
        log.warning("access restricted", reason=line)
    catalogs = Catalogs(folder, [Path(place) for place in settings.catalogs])
    catalog = catalogs.load()
    home.check_store()
    migrate(home.store)
    check_integrity(home.store)
    stored_generation = epochs.stored_generation(home.store)
    home.check_authority(stored_generation)
    if older := home.check_generation(stored_generation):
        log.warning("older store detected", reason=older)
    issuer = Issuer(Authority(folder, now_unix_ns()), int(settings.certificate_life_s * NS_PER_S))
    keeper = _keeper(home, settings)
    issuer.catalog_sha256 = lambda: keeper.fingerprint
    signer = OrderSigner(folder, issuer.authority.ca, now_unix_ns())
    if left := meter_logs.remove_partial_logs(home.blobs):
        log.info("incomplete uploads of power logs removed", count=left)
    engine = Engine(home.store, home.blobs, settings, catalog, keeper=keeper, signer=signer)
    await engine.start(await _begin_generation(home, engine))
    stack.push_async_callback(engine.stop)
    await engine.release_manager.renew_if_due()
    refusals = RefusalAuditor(engine)
    server, entry = _servers(settings, shares, AuthInterceptor(engine.registry, refusals))

    async def stop_servers() -> None:
        await asyncio.gather(server.stop(_GRACE_S), entry.stop(0.0))

    stack.push_async_callback(stop_servers)
    sessions = SessionService(engine)
    trials = Trials(folder, engine.blobs, settings.mirror_folder)
    stack.push_async_callback(asyncio.to_thread, trials.close)
    _register(server, engine, sessions, CatalogService(engine, catalogs, issuer, trials), issuer)
    service = EnrollmentService(engine, issuer)
    enrollment_pb2_grpc.add_EnrollmentServicer_to_server(service, entry)
    issuer.session_port = _bind(server, host, port, issuer, mutual=True)
    wanted = settings.entry_port or (issuer.session_port + 1 if port else 0)
    issuer.entry_port = _bind(entry, host, wanted, issuer, mutual=False)
    await server.start()
    await entry.start()
    advertisement = _advertisement(engine, issuer, host) if settings.advertise else None
    name = advertisement.name if advertisement is not None else ""
    info = await _introduce(home, engine, issuer, host, name, with_token)
    if advertisement is not None:
        await advertisement.refresh()
    gc_policy.freeze_startup_objects()
    loop = asyncio.get_running_loop()
    local = loop.create_task(_keep_local(home, engine, issuer, info))
    sweeper = loop.create_task(gc_policy.collect_periodically())
    monitor = loop.create_task(_monitor(engine, issuer, shares, refusals).run())
    advertiser = loop.create_task(advertisement.keep_current()) if advertisement else None
    try:
        ready(info)
        await _until_stopped()
    finally:
        local.cancel()
        sweeper.cancel()
        monitor.cancel()
        if advertisement is not None and advertiser is not None:
            advertiser.cancel()
            await asyncio.wait([advertiser])
            await advertisement.end()
    log.info("shutdown requested", reason="signal")
    sessions.send_goodbye("the controller is stopping")
    engine.jobs.changes.close()


def _servers(
    settings: ControllerSettings, shares: ConnectionShares | None, guard: AuthInterceptor
) -> tuple[grpc.aio.Server, grpc.aio.Server]:
    """Return the server for callers with a certificate, and the server of the open port."""
    session = server_options(
        handshake_timeout_s=settings.handshake_timeout_s,
        connections=shares.session if shares else None,
    )
    entry = entry_options(
        handshake_timeout_s=settings.handshake_timeout_s,
        connections=shares.entry if shares else None,
    )
    return (
        grpc.aio.server(options=session, interceptors=[guard]),
        grpc.aio.server(options=entry, interceptors=[guard]),
    )


def _monitor(
    engine: Engine, issuer: Issuer, shares: ConnectionShares | None, refusals: RefusalAuditor
) -> ConnectionMonitor:
    """Return the monitor that keeps connections without calls from filling the ports."""
    most = {issuer.session_port: shares.session, issuer.entry_port: shares.entry} if shares else {}

    async def report(source: str, count: int, port: int) -> None:
        refusal = FleetmarkError(
            ErrorKind.BACK_PRESSURE,
            f"closed {count} connections without a call on port {port}, most from {source}",
        )
        await refusals.note(f"address {source}", "connection", refusal)

    return ConnectionMonitor(most, engine.registry.connections, report)


def _advertisement(engine: Engine, issuer: Issuer, host: str) -> Advertisement | None:
    """Return what devices nearby find; None where no other machine could reach it."""
    if is_loopback(host):
        return None
    from fleetmark_controller.server.mdns_advertise import Advertisement

    def find_addresses() -> list[HostAddress]:
        return host_addresses() if is_every_address(host) else [HostAddress("", host)]

    ca_sha256 = issuer.authority.ca_sha256
    return Advertisement(engine.controller_id, find_addresses, issuer.session_port, ca_sha256)


def _keeper(home: Home, settings: ControllerSettings) -> ReleaseStore:
    blobs, life_s = BlobFolder(home.blobs), settings.release_life_s
    return ReleaseStore(home.folder, blobs, life_s, settings.catalog_key, make=True)


async def _introduce(
    home: Home, engine: Engine, issuer: Issuer, host: str, name: str, with_token: bool
) -> ServerInfo:
    """Leave what commands on this host need, and return how devices reach the controller.

    `name` is the advertised name of this host; empty if nothing is advertised.
    """
    every = is_every_address(host)
    address = join_address(own_host() if every else host, issuer.session_port)
    local_name = name or host_name_local()
    reached = device_host(local_name) if every else host
    devices = join_address(reached, issuer.session_port) if reached else ""
    await _write_local(home, engine, issuer, address)
    write_endpoint(home.folder, address, devices, local_name if every else "")
    token = ""
    if with_token:
        made = issuer.new_token()
        await engine.transactions.run_operation(
            lambda c, fx, now: enrollment.create_token(
                c,
                fx,
                now,
                "controller",
                made,
                life_ns=_FIRST_TOKEN_S * NS_PER_S,
                uses=1,
                labels={},
                approve=False,
            )
        )
        token = made.text()
    return ServerInfo(address, devices, token)


async def _write_local(home: Home, engine: Engine, issuer: Issuer, address: str) -> None:
    key, fingerprint = local_key(home.folder)
    operator = await engine.transactions.run_operation(
        lambda c, fx, now: operators.admit_local(c, fx, now, fingerprint)
    )
    life_ns = _LOCAL_LIFE_S * NS_PER_S
    write_local(home.folder, issuer, key, operator, address, now_unix_ns(), life_ns)


async def _keep_local(home: Home, engine: Engine, issuer: Issuer, info: ServerInfo) -> None:
    """Renew the local credentials and the release once a day: a controller may run for months."""
    while True:
        await asyncio.sleep(86_400)
        try:
            await _write_local(home, engine, issuer, info.address)
            await engine.release_manager.renew_if_due()
        except (OSError, FleetmarkError) as error:
            log.error("local credentials or release not renewed", error=error)


async def _begin_generation(home: Home, engine: Engine) -> int:
    stored = await engine.reader.run(epochs.generation)
    chosen = fencing.choose(stored, home.read_generation(), now_unix_ns() / NS_PER_S)
    home.write_generation(chosen)
    return chosen


def _register(
    server: grpc.aio.Server,
    engine: Engine,
    sessions: SessionService,
    catalog: CatalogService,
    issuer: Issuer,
) -> None:
    session_pb2_grpc.add_SessionServicer_to_server(sessions, server)
    blobs_pb2_grpc.add_BlobsServicer_to_server(BlobsService(engine), server)
    results_pb2_grpc.add_ResultsServicer_to_server(ResultsService(engine), server)
    fleet_pb2_grpc.add_FleetServicer_to_server(FleetService(engine), server)
    jobs_pb2_grpc.add_JobsServicer_to_server(JobsService(engine), server)
    catalog_pb2_grpc.add_CatalogServicer_to_server(catalog, server)
    admin_pb2_grpc.add_AdminServicer_to_server(AdminService(engine, issuer), server)


def _bind(server: grpc.aio.Server, host: str, port: int, issuer: Issuer, *, mutual: bool) -> int:
    """Listen with TLS; with `mutual`, accept only callers whose certificate this CA has signed."""
    authority = issuer.authority
    credentials = grpc.ssl_server_credentials(
        [(authority.server.key, authority.chain)],
        root_certificates=authority.ca.certificate if mutual else None,
        require_client_auth=mutual,
    )
    address = join_address(host, port)
    try:
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        option = "--listen" if mutual else "--listen, or entry_port in config.toml"
        cause = listen_fault(host, port)
        if cause:
            what, next_step = cause, f"Choose another address with {option}"
        else:
            what = "another program does"
            next_step = f"Stop it, or choose another port with {option}"
        raise FleetmarkError(
            ErrorKind.ADDRESS_REFUSED, f"cannot listen on {address}: {what}", next_step=next_step
        ) from error


async def _until_stopped() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
