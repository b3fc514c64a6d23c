"""One service over real gRPC with TLS and guard, for tests of it alone."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache

import grpc

from fleetmark_controller.api.auth import AuthInterceptor, RefusalAuditor
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.certificates import Pair
from fleetmark_controller.identity.model import Identity, IdentityKind, IdentityState, Role
from fleetmark_controller.store.security import identities
from fleetmark_core.device_keys import make_key, signing_request
from fleetmark_protos.channel import client_options, server_options

Start = Callable[[Pair], Awaitable[grpc.aio.Channel]]


@lru_cache
def authority() -> Pair:
    return certificates.make_ca(time.time_ns())


async def device_pair(engine: Engine, device_id: str) -> Pair:
    return await _member(engine, IdentityKind.DEVICE, device_id, None)


async def operator_pair(engine: Engine, role: Role) -> Pair:
    return await _member(engine, IdentityKind.OPERATOR, role.value, role)


async def _member(engine: Engine, kind: IdentityKind, name: str, role: Role | None) -> Pair:
    key = make_key()
    request = certificates.read_request(signing_request(key))
    identity = Identity(name, kind, name, role, request.key_sha256, IdentityState.ACTIVE, {}, "")

    def add(c: object, fx: object, now: int) -> None:
        identities.add(c, now, identity)  # type: ignore[arg-type]
        fx.identities.add(name)  # type: ignore[attr-defined]

    await engine.transactions.run_operation(add)
    signed, _ = certificates.sign(authority(), request, kind, name, time.time_ns(), 10**12)
    return Pair(key, signed)


@asynccontextmanager
async def secured(engine: Engine) -> AsyncIterator[tuple[grpc.aio.Server, Start]]:
    """Yield a server for services, and a function that starts it and returns a caller's channel."""
    ca = authority()
    pair = certificates.make_server(ca, time.time_ns())
    guard = AuthInterceptor(engine.registry, RefusalAuditor(engine))
    server = grpc.aio.server(options=server_options(), interceptors=[guard])
    credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)], ca.certificate, True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    channels: list[grpc.aio.Channel] = []
    started = False

    async def start(caller: Pair) -> grpc.aio.Channel:
        nonlocal started
        if not started:
            started = True
            await server.start()
        shown = grpc.ssl_channel_credentials(ca.certificate, caller.key, caller.certificate)
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", shown, options=client_options())
        channels.append(channel)
        return channel

    try:
        yield server, start
    finally:
        for channel in channels:
            await channel.close()
        await server.stop(None)
