"""The only implementation of `Transport`: gRPC with mutual TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import grpc.aio

from fleetmark_agent.net import grpc_codec
from fleetmark_agent.net.transport import Stream
from fleetmark_agent.session.messages import (
    AgentMessage,
    Append,
    Appended,
    AttemptRef,
    ControllerMessage,
)
from fleetmark_agent.state.identity import Tls
from fleetmark_protos.channel import client_options

CALL_TIMEOUT_S = 30.0
_STALL_TIMEOUT_S = 30.0
_FAREWELL_S = 1.0
_OLD_CALLS_S = 300.0


class GrpcTransport:
    """The implementation of `Transport` with gRPC."""

    def __init__(self, address: str, identity: Callable[[], Tls]) -> None:
        """Create the channel, which connects on first use. `renew` calls `identity` again."""
        self.address = address
        self._identity = identity
        self._closing: set[asyncio.Future[None]] = set()
        self._target = _target_of(address)
        self._channel = open_channel(self._target, identity())
        self._stubs = grpc_codec.Stubs(self._channel)

    def renew(self) -> None:
        """Use the currently stored identity for new calls; running calls may finish."""
        old = self._channel
        self._target = _target_of(self.address)
        self._channel = open_channel(self._target, self._identity())
        self._stubs = grpc_codec.Stubs(self._channel)
        closing = asyncio.ensure_future(old.close(_OLD_CALLS_S))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def connect(self) -> Stream:
        """Open a session stream; see `Transport`."""
        if _target_of(self.address) != self._target:
            self.renew()  # the tunnel was opened again, on another port
        return _GrpcStream(self._stubs, self.address)

    async def download(self, sha256: str, offset: int, attempt: AttemptRef) -> AsyncIterator[bytes]:
        """Yield the bytes of a blob; see `Transport`."""
        call = self._stubs.download(sha256, offset, attempt)
        try:
            while True:
                with grpc_codec.errors(self.address):
                    chunk = await asyncio.wait_for(call.read(), _STALL_TIMEOUT_S)
                data = grpc_codec.chunk_data(chunk)
                if data is None:
                    return
                yield data
        finally:
            call.cancel()

    async def upload(self, path: Path, sha256: str, size_bytes: int, device_id: str) -> None:
        """Upload a file as a blob; see `Transport`."""
        call = self._stubs.upload()
        try:
            with grpc_codec.errors(self.address):
                await self._send_file(call, path, sha256, size_bytes, device_id)
                # The controller replies after it has synced the bytes to its disk.
                await asyncio.wait_for(call, CALL_TIMEOUT_S + size_bytes / 5e6)
        finally:
            call.cancel()

    async def _send_file(
        self, call: object, path: Path, sha256: str, size_bytes: int, device_id: str
    ) -> None:
        for request in grpc_codec.upload_requests(path, sha256, size_bytes, device_id):
            try:
                await asyncio.wait_for(call.write(request), _STALL_TIMEOUT_S)  # type: ignore[attr-defined]
            except asyncio.InvalidStateError:
                # The controller has replied early: it has the blob, or refuses it. The reply says
                # which.
                return
        await call.done_writing()  # type: ignore[attr-defined]

    async def append(self, message: Append) -> Appended:
        """Upload records of one attempt; see `Transport`."""
        with grpc_codec.errors(self.address):
            return await self._stubs.append(message, CALL_TIMEOUT_S)

    async def close(self) -> None:
        """Close all connections, including replaced channels; see `Transport`."""
        for closing in self._closing:
            closing.cancel()
        await self._channel.close(None)


class _GrpcStream:
    def __init__(self, stubs: object, address: str) -> None:
        self._address = address
        self._call = stubs.connect()  # type: ignore[attr-defined]
        self._closed = False

    async def send(self, message: AgentMessage) -> None:
        with grpc_codec.errors(self._address):
            await self._call.write(grpc_codec.to_wire(message))

    async def receive(self) -> ControllerMessage | None:
        while True:
            try:
                with grpc_codec.errors(self._address):
                    answer = await self._call.read()
            except asyncio.CancelledError:
                # gRPC reports this object's own `close` in this way; a cancelled task must stay
                # cancelled.
                if self._closed:
                    return None
                raise
            if grpc_codec.is_end(answer):
                with grpc_codec.errors(self._address):
                    await grpc_codec.check_status(self._call)
                return None
            message = grpc_codec.from_wire(answer)
            # A newer controller may send messages that this version does not know.
            if message is not None:
                return message

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            with suppress(Exception):
                await asyncio.wait_for(self._call.done_writing(), _FAREWELL_S)
                # Cancelling may drop messages that are still in transit, so let the controller end
                # the call.
                await asyncio.wait_for(asyncio.shield(self._call.code()), _FAREWELL_S)
        self._call.cancel()


def _target_of(address: str) -> str:
    """Return the target of a channel. Only agents behind a tunnel load the code for tunnels."""
    if not address.startswith("unix:"):
        return address
    from fleetmark_core.tunnel_address import grpc_target

    return grpc_target(address)


def open_channel(target: str, identity: Tls) -> grpc.aio.Channel:
    """Create a channel with mutual TLS to a gRPC target; one CA issues both certificates.

    This is the only place where the agent creates a channel with its identity.
    """
    credentials = grpc.ssl_channel_credentials(identity.ca, identity.key, identity.certificate)
    return grpc.aio.secure_channel(target, credentials, options=client_options())
