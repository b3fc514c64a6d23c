"""Many agents in one process: the agent's own session, link and wire, but nothing to run jobs with.

python simulated_agents.py ADDRESS COUNT
"""

from __future__ import annotations

import asyncio
import os
import sys

import grpc

from fleetmark_agent.helpers.tls_probe import trusted_ca
from fleetmark_agent.net import grpc_transport
from fleetmark_agent.net.connection import ControllerConnection
from fleetmark_agent.session import events as h
from fleetmark_agent.session.machine import AgentIdentity, Session
from fleetmark_agent.state.identity import Tls
from fleetmark_agent.state.ledger import Ledger
from fleetmark_core.capabilities import Board, Capabilities, Cpu, Memory, Os, Storage
from fleetmark_core.device_keys import make_key, signing_request
from fleetmark_core.ids import uuid7
from fleetmark_protos.channel import client_options
from fleetmark_protos.token import parse_token
from fleetmark_protos.v1 import enrollment_pb2, enrollment_pb2_grpc

CAPABLE = Capabilities(
    Os("linux", "debian", "12", "6.1"),
    "x86_64",
    Board(),
    Cpu(2, 2),
    Memory(1 << 30, 0),
    Storage(0, 0),
)


class Member:
    """One agent; offers are left unanswered, for none is made."""

    def __init__(self, device_id: str, name: str, address: str, tls: Tls) -> None:
        identity = AgentIdentity(device_id, uuid7(), name, "0", CAPABLE)
        self.session = Session(identity, Ledger(), device_free=True, spooled={})
        self.link = ControllerConnection(
            grpc_transport.GrpcTransport(address, lambda: tls), self.handle_event, lambda: None
        )
        self.timer: asyncio.TimerHandle | None = None

    def handle_event(self, event: h.Event) -> None:
        loop = asyncio.get_running_loop()
        for action in self.session.handle(event, loop.time()):
            if isinstance(action, h.Send):
                self.link.send(action.message)
            elif isinstance(action, h.Reconnect):
                self.link.drop(action.reason, action.after_s)
        if self.timer is not None:
            self.timer.cancel()
        due = self.session.next_tick()
        if due is not None:
            self.timer = loop.call_at(due, self.handle_event, h.TimerFired())


async def enroll(address: str, count: int) -> list[tuple[str, str, str, Tls]]:
    """Enroll so many devices with the token in the environment."""
    token = os.environ["FLEETMARK_TOKEN"]
    known = parse_token(token)
    host = address.rpartition(":")[0]
    ca = trusted_ca(host, known.entry_port, known.ca_sha256)
    found = []
    async with grpc.aio.secure_channel(
        f"{host}:{known.entry_port}", grpc.ssl_channel_credentials(ca), options=client_options()
    ) as channel:
        stub = enrollment_pb2_grpc.EnrollmentStub(channel)
        for number in range(count):
            device_id, name, key = uuid7(), f"simulated{number:04}", make_key()
            request = enrollment_pb2.EnrollRequest(
                token=token, csr=signing_request(key), device_id=device_id, name=name
            )
            async for event in stub.Enroll(request):
                tls = Tls(ca, key, event.certificate.certificate)
                found.append((device_id, name, address, tls))
    return found


async def main(address: str, count: int) -> None:
    members = [Member(*identity) for identity in await enroll(address, count)]
    await asyncio.gather(*(member.link.run() for member in members))


def _own_connections() -> None:
    # Within one process gRPC shares a connection between channels unless an option forbids it.
    from fleetmark_protos import channel

    shared = channel.client_options
    channel.client_options = lambda *args: [  # type: ignore[assignment]
        *shared(*args),
        ("grpc.use_local_subchannel_pool", 1),
    ]


if __name__ == "__main__":
    _own_connections()
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
