"""Simulated agents: `fleet_agents.py ADDRESS FIRST COUNT CAPABILITIES`.

Each agent uses the real session, connection and codec, with its own key and connection; many agents
share one process, and none can run jobs. They enroll with the token in FLEETMARK_TOKEN and print
`ready`. Then they follow commands on standard input. `prepare N` brings the first N to the state of
started agents that do not connect yet. `dial N` connects them; they print `connected` with the time
of the last welcome. `leave` disconnects all. Each durably accepted job is printed with its time,
also by the wall clock. Times are those of time.monotonic, which all processes share.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
from fleet_children import commands, raise_file_limit

from fleetmark_agent.helpers.tls_probe import trusted_ca
from fleetmark_agent.net import grpc_transport
from fleetmark_agent.net.connection import ControllerConnection
from fleetmark_agent.session import events as h
from fleetmark_agent.session.machine import AgentIdentity, Session
from fleetmark_agent.state.identity import Tls
from fleetmark_agent.state.ledger import Ledger
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.device_keys import make_key, signing_request
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.ids import uuid7
from fleetmark_core.serde import from_plain
from fleetmark_protos import channel
from fleetmark_protos.token import parse_token
from fleetmark_protos.v1 import enrollment_pb2, enrollment_pb2_grpc

_AT_ONCE = 4  # the enrollment port refuses more than 8 streams per connection


class Member:
    """One agent: it accepts every offer, prints the time, and refuses to run the job."""

    def __init__(
        self, identity: AgentIdentity, address: str, tls: Tls, welcome: Callable[[], None]
    ) -> None:
        self._identity = identity
        self._address, self._tls = address, tls
        self._welcome = welcome
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def prepare(self) -> None:
        """Set up the state of an agent that was started but does not connect yet."""
        self._session = Session(self._identity, Ledger(), device_free=True, spooled={})
        self._transport = grpc_transport.GrpcTransport(self._address, lambda: self._tls)
        self._link = ControllerConnection(self._transport, self._on_event, lambda: None)
        self._greeted = False

    def dial(self) -> None:
        """Connect to the controller."""
        self._task = asyncio.get_running_loop().create_task(self._link.run())

    async def leave(self) -> None:
        """Disconnect without a bye, as a killed agent does."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            await self._transport.close()

    def _on_event(self, event: h.Event) -> None:
        loop = asyncio.get_running_loop()
        events: list[h.Event] = [event]
        while events:
            for action in self._session.handle(events.pop(0), loop.time()):
                if isinstance(action, h.Send):
                    self._link.send(action.message)
                elif isinstance(action, h.Persist):
                    events.append(h.Persisted(action.number))
                elif isinstance(action, h.StartJob):
                    now = (time.monotonic(), time.time_ns())
                    print("accepted", action.key.job_id, *now, flush=True)
                    events.append(
                        h.JobRefused(
                            action.key, "simulated", retryable=False, cause=FailureCause.JOB
                        )
                    )
                elif isinstance(action, h.Reconnect):
                    self._link.drop(action.reason, action.after_s)
        if self._session.connected and not self._greeted:
            self._greeted = True
            self._welcome()
        if self._timer is not None:
            self._timer.cancel()
        due = self._session.next_tick()
        if due is not None:
            self._timer = loop.call_at(due, self._on_event, h.TimerFired())


async def enrolled(address: str, first: int, count: int) -> list[tuple[str, str, Tls]]:
    """Enroll devices with the token in the environment; return their ids, names and TLS files."""
    token = os.environ["FLEETMARK_TOKEN"]
    known = parse_token(token)
    host = address.rpartition(":")[0]
    ca = trusted_ca(host, known.entry_port, known.ca_sha256)
    slots = asyncio.Semaphore(_AT_ONCE)
    found: list[tuple[str, str, Tls]] = []
    async with grpc.aio.secure_channel(
        f"{host}:{known.entry_port}",
        grpc.ssl_channel_credentials(ca),
        options=channel.client_options(),
    ) as entry:
        stub = enrollment_pb2_grpc.EnrollmentStub(entry)

        async def enroll(number: int) -> None:
            device_id, name, key = uuid7(), f"simulated{number:04}", make_key()
            request = enrollment_pb2.EnrollRequest(
                token=token, csr=signing_request(key), device_id=device_id, name=name
            )
            async with slots:
                async for event in stub.Enroll(request):
                    if event.WhichOneof("body") == "certificate":
                        tls = Tls(ca, key, event.certificate.certificate)
                        found.append((device_id, name, tls))

        await asyncio.gather(*(enroll(number) for number in range(first, first + count)))
    return sorted(found, key=lambda item: item[1])


async def main(address: str, first: int, count: int, capabilities: Path) -> None:
    """Run the simulated agents; see the module."""
    raise_file_limit()
    _own_connections()
    text = capabilities.read_text()  # noqa: ASYNC240 - before anything else runs
    facts = from_plain(Capabilities, json.loads(text), "capabilities")
    awaited: set[int] = set()

    def welcome(number: int) -> None:
        if number in awaited:
            awaited.discard(number)
            if not awaited:
                print("connected", time.monotonic(), flush=True)

    members = [
        Member(
            AgentIdentity(device_id, uuid7(), name, "0", _of_device(facts, first + number)),
            address,
            tls,
            lambda number=number: welcome(number),  # type: ignore[misc]
        )
        for number, (device_id, name, tls) in enumerate(await enrolled(address, first, count))
    ]
    print("ready", flush=True)
    async for words in commands():
        if words[0] == "prepare":
            for member in members[: int(words[1])]:
                member.prepare()
            print("prepared", flush=True)
        elif words[0] == "dial":
            awaited.update(range(int(words[1])))
            for member in members[: int(words[1])]:
                member.dial()
        else:
            await asyncio.gather(*(member.leave() for member in members))
            print("left", flush=True)


def _of_device(facts: Capabilities, number: int) -> Capabilities:
    """Return the capabilities of one of many equal devices: only their free disk differs."""
    free_bytes = max(0, facts.storage.free_bytes - 4096 * number)
    return replace(facts, storage=replace(facts.storage, free_bytes=free_bytes))


def _own_connections() -> None:
    # Within one process gRPC shares a connection between channels, unless this option is set.
    shared = channel.client_options
    grpc_transport.client_options = channel.client_options = lambda *args: [  # type: ignore[attr-defined]
        *shared(*args),
        ("grpc.use_local_subchannel_pool", 1),
    ]


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])))
