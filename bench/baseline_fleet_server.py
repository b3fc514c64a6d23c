"""Baseline for a fleet: bare grpc.aio over mutual TLS.

    baseline_fleet_server.py server PORT FOLDER
    baseline_fleet_server.py clients PORT FIRST COUNT FOLDER     as fleet_agents.py

The server echoes the messages of a stream, and forwards each `push` to the stream that it names. A
client sends its number, then a heartbeat every 15 s, and prints when it receives a push. FOLDER
holds the certificate of the run. The channel options are those of controller and agents.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from fleet_children import commands, raise_file_limit

from fleetmark_protos.channel import client_options, server_options

STREAM, PUSH = "/b/stream", "/b/push"
_HELLO_BYTES, _BEAT_BYTES, _BEAT_S = 1500, 60, 15.0


async def server(port: int, folder: Path) -> None:
    """Serve until killed."""
    raise_file_limit()
    outboxes: dict[bytes, asyncio.Queue[bytes]] = {}

    async def stream(messages: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        outbox: asyncio.Queue[bytes] = asyncio.Queue()

        async def read() -> None:
            async for message in messages:
                outboxes[message.split(b" ")[0]] = outbox
                outbox.put_nowait(message)

        reader = asyncio.get_running_loop().create_task(read())
        try:
            while True:
                yield await outbox.get()
        finally:
            reader.cancel()

    async def push(number: bytes, _: object) -> bytes:
        outboxes[number].put_nowait(b"pushed")
        return b""

    handlers: dict[str, Any] = {
        "stream": grpc.stream_stream_rpc_method_handler(stream),
        "push": grpc.unary_unary_rpc_method_handler(push),
    }
    made = grpc.aio.server(options=server_options())
    made.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("b", handlers),))
    certificate, key = pair(folder)
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=certificate, require_client_auth=True
    )
    made.add_secure_port(f"127.0.0.1:{port}", credentials)
    await made.start()
    print("ready", flush=True)
    await made.wait_for_termination()


async def clients(port: int, first: int, count: int, folder: Path) -> None:
    """Connect and disconnect clients on command."""
    raise_file_limit()
    certificate, key = pair(folder)
    credentials = grpc.ssl_channel_credentials(certificate, key, certificate)
    options = [*client_options(), ("grpc.use_local_subchannel_pool", 1)]
    awaited: set[int] = set()
    tasks: set[asyncio.Task[None]] = set()
    channels: dict[int, grpc.aio.Channel] = {}

    def prepared() -> grpc.aio.Channel:
        return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)

    async def one(number: int, channel: grpc.aio.Channel) -> None:
        name = str(number).encode()
        async with channel:
            call: grpc.aio.StreamStreamCall[bytes, bytes] = channel.stream_stream(STREAM)()
            await call.write((name + b" ").ljust(_HELLO_BYTES, b"x"))
            await call.read()
            awaited.discard(number)
            if not awaited:
                print("connected", time.monotonic(), flush=True)
            beats = asyncio.get_running_loop().create_task(_beat(call, name))
            try:
                while (message := await call.read()) is not grpc.aio.EOF:
                    if message == b"pushed":
                        print("accepted", number, time.monotonic(), flush=True)
            finally:
                beats.cancel()

    print("ready", flush=True)
    async for words in commands():
        if words[0] == "prepare":
            channels = {n: prepared() for n in range(first, first + int(words[1]))}
            print("prepared", flush=True)
        elif words[0] == "dial":
            awaited.update(channels)
            loop = asyncio.get_running_loop()
            tasks = {loop.create_task(one(number, held)) for number, held in channels.items()}
        else:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            print("left", flush=True)


async def _beat(call: Any, name: bytes) -> None:
    # Spread over the period, as in a fleet that has run for a while.
    await asyncio.sleep(random.random() * _BEAT_S)
    while True:
        await call.write((name + b" ").ljust(_BEAT_BYTES, b"x"))
        await asyncio.sleep(_BEAT_S)


def pair(folder: Path) -> tuple[bytes, bytes]:
    """Return certificate and key of the run."""
    return (folder / "certificate.pem").read_bytes(), (folder / "key.pem").read_bytes()


if __name__ == "__main__":
    if sys.argv[1] == "server":
        asyncio.run(server(int(sys.argv[2]), Path(sys.argv[3])))
    else:
        port, first, count = map(int, sys.argv[2:5])
        asyncio.run(clients(port, first, count, Path(sys.argv[5])))
