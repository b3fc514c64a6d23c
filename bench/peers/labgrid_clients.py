"""Exporters and a client of labgrid, run in labgrid's own environment.

    labgrid_clients.py exporters ADDRESS FIRST COUNT    each with a connection and one resource
    labgrid_clients.py client ADDRESS COUNT             until a client sees that many resources

Both print `ready`. The exporters begin on a line of standard input. The client prints the
time.monotonic of the moment when it saw the last one.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator

import grpc
from labgrid.remote.generated import labgrid_coordinator_pb2 as pb
from labgrid.remote.generated import labgrid_coordinator_pb2_grpc as pb_grpc

OPTIONS = [("grpc.use_local_subchannel_pool", 1)]


async def line() -> None:
    """Wait for a line of standard input."""
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def exporters(address: str, first: int, count: int) -> None:
    """Act as labgrid's exporters do: send startup and one resource, then wait."""

    async def one(number: int, channel: grpc.aio.Channel) -> None:
        outbox: asyncio.Queue[pb.ExporterInMessage] = asyncio.Queue()
        startup = pb.ExporterInMessage()
        startup.startup.version, startup.startup.name = "26.0.1", f"simulated{number:04}"
        resource = pb.ExporterInMessage()
        resource.resource.path.group_name = f"simulated{number:04}"
        resource.resource.path.resource_name = "device"
        resource.resource.cls = "NetworkService"
        resource.resource.params["address"].string_value = "192.0.2.1"
        resource.resource.avail = True
        outbox.put_nowait(startup)
        outbox.put_nowait(resource)

        async def messages() -> AsyncIterator[pb.ExporterInMessage]:
            while True:
                yield await outbox.get()

        async for _ in pb_grpc.CoordinatorStub(channel).ExporterStream(messages()):
            pass

    channels = [grpc.aio.insecure_channel(address, options=OPTIONS) for _ in range(count)]
    print("ready", flush=True)
    await line()
    await asyncio.gather(*(one(first + n, channel) for n, channel in enumerate(channels)))


async def client(address: str, count: int) -> None:
    """Act as labgrid's client does: hold one stream that reports every resource."""
    outbox: asyncio.Queue[pb.ClientInMessage] = asyncio.Queue()
    startup, wanted = pb.ClientInMessage(), pb.ClientInMessage()
    startup.startup.version, startup.startup.name = "26.0.1", "bench"
    wanted.subscribe.all_resources = True
    outbox.put_nowait(startup)
    outbox.put_nowait(wanted)

    async def messages() -> AsyncIterator[pb.ClientInMessage]:
        while True:
            yield await outbox.get()

    async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
        seen: set[str] = set()
        stream = pb_grpc.CoordinatorStub(channel).ClientStream(messages())
        print("ready", flush=True)
        async for message in stream:
            for update in message.updates:
                if update.WhichOneof("kind") == "resource":
                    seen.add(update.resource.path.exporter_name)
            if len(seen) >= count:
                print(time.monotonic(), flush=True)
                return


if __name__ == "__main__":
    if sys.argv[1] == "exporters":
        asyncio.run(exporters(sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    else:
        asyncio.run(client(sys.argv[2], int(sys.argv[3])))
