"""A large fleet against a real controller: `bench/fleet.py [--agents 1000] [--dispatches 100]`.

Simulated agents (the agent's own session and wire, in one process, nothing to run jobs with) dial a
real `controller serve` over loopback, with keys that they enrolled before. Measured: until all are
registered and visible; the controller's CPU while they only heartbeat; dispatch, from the call of
`Submit` to the durable acceptance of the offer on the agent, one job at a time; and, on one real
agent beside them, from `Submit` to the first result of a job that does nothing. Beside the first
stands its floor: as many bare grpc.aio streams over TLS, of which both sides prove themselves, to a
bare grpc.aio server that answers one message.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "faults"), str(ROOT / "tests" / "e2e")]
CAPABLE_FILE = "capabilities.json"


# --- the simulated agents -----------------------------------------------------------------------


async def herd(address: str, count: int, capabilities: Path) -> None:
    """Dial as `count` agents; say on stdout when each accepts an offer."""
    from herd import _own_connections, enrol

    from fleetmark_agent import happenings as h
    from fleetmark_agent import transport
    from fleetmark_agent.identity import Tls
    from fleetmark_agent.ids import uuid7
    from fleetmark_agent.ledger import Ledger
    from fleetmark_agent.link import Link
    from fleetmark_agent.session import Identity, Session
    from fleetmark_catalog.core.capabilities import Capabilities
    from fleetmark_catalog.core.plain import from_plain

    text = capabilities.read_text()  # noqa: ASYNC240 - before anything else runs
    facts = from_plain(Capabilities, json.loads(text), "capabilities")
    _own_connections()

    class Member:
        """Accepts every offer, says when, and refuses to run it."""

        def __init__(self, device_id: str, name: str, address: str, tls: Tls) -> None:
            identity = Identity(device_id, uuid7(), name, "0", facts)
            self.session = Session(identity, Ledger(), device_free=True, spooled={})
            self.link = Link(transport.GrpcTransport(address, lambda: tls), self.tell, lambda: None)
            self.timer: asyncio.TimerHandle | None = None

        def tell(self, event: h.Event) -> None:
            loop = asyncio.get_running_loop()
            events: list[h.Event] = [event]
            while events:
                for action in self.session.handle(events.pop(0), loop.time()):
                    if isinstance(action, h.Send):
                        self.link.send(action.message)
                    elif isinstance(action, h.Persist):
                        events.append(h.Persisted(action.number))
                    elif isinstance(action, h.StartJob):
                        print(action.key.job_id, time.monotonic(), flush=True)
                        events.append(h.JobRefused(action.key, "simulated", retryable=False))
                    elif isinstance(action, h.Reconnect):
                        self.link.drop(action.reason, action.after_s)
            if self.timer is not None:
                self.timer.cancel()
            due = self.session.next_tick()
            if due is not None:
                self.timer = loop.call_at(due, self.tell, h.Tick())

    members = [Member(*identity) for identity in await enrol(address, count)]
    print("enrolled", flush=True)
    await asyncio.gather(*(member.link.run() for member in members))


# --- the floor ----------------------------------------------------------------------------------


async def bare_server(port: int, folder: Path) -> None:
    """Answers the first message of every stream with itself; nothing else."""
    import grpc

    from fleetmark_protos.channel import server_options

    async def echo(messages: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message

    handler = grpc.stream_stream_rpc_method_handler(echo)
    server = grpc.aio.server(options=server_options())
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("b", {"e": handler}),))
    certificate, key = _pair(folder)
    credentials = grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=certificate, require_client_auth=True
    )
    server.add_secure_port(f"127.0.0.1:{port}", credentials)
    await server.start()
    await server.wait_for_termination()


async def bare_clients(port: int, count: int, folder: Path) -> None:
    """Open `count` streams, each on its own connection; print the seconds until all answered."""
    import grpc

    from fleetmark_protos.channel import client_options

    certificate, key = _pair(folder)
    credentials = grpc.ssl_channel_credentials(certificate, key, certificate)
    options = [*client_options(), ("grpc.use_local_subchannel_pool", 1)]
    channels = [
        grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)
        for _ in range(count)
    ]
    began = time.monotonic()

    async def one(channel: grpc.aio.Channel) -> None:
        call = channel.stream_stream("/b/e")()
        await call.write(b"x" * 500)
        await call.read()
        calls.append(call)

    calls: list[object] = []
    await asyncio.gather(*(one(channel) for channel in channels))
    print(time.monotonic() - began, flush=True)


def _pair(folder: Path) -> tuple[bytes, bytes]:
    """Certificate and key of a run."""
    return (folder / "certificate.pem").read_bytes(), (folder / "key.pem").read_bytes()


# --- the measuring ------------------------------------------------------------------------------


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def child(*arguments: object, token: str = "") -> subprocess.Popen[str]:
    """This file in another role, in a process of its own."""
    words = [sys.executable, __file__, "--role", *map(str, arguments)]
    where = {**os.environ, **({"FLEETMARK_TOKEN": token} if token else {})}
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=where)


def floor_s(count: int, port: int, folder: Path) -> float:
    """Seconds until `count` bare streams were answered."""
    from certificate import write_certificate

    from fleetmark_protos.channel import SERVER_NAME

    write_certificate(folder, SERVER_NAME)
    server = child("bare-server", port, 0, folder)
    time.sleep(1.5)
    clients = child("bare-clients", port, count, folder)
    assert clients.stdout is not None
    try:
        return float(clients.stdout.readline())
    finally:
        for process in (clients, server):
            process.terminate()
            process.wait()


def measure(agents: int, dispatches: int, folder: Path) -> dict[str, object]:
    """All figures of one fleet."""
    import psutil
    import toy
    from processes import fleet_in, free_port

    from fleetmark_controller.client import Client
    from fleetmark_controller.ids import uuid7
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import fleet_pb2, jobs_pb2

    figures: dict[str, object] = {"agents": agents}
    figures["bare_streams_s"] = round(floor_s(agents, free_port(), folder), 2)
    (folder / "marks").mkdir()
    with fleet_in(folder) as fleet:
        config = fleet.home / "config.toml"
        text = config.read_text().replace("heartbeat_idle_s = 0.5", "heartbeat_idle_s = 15.0")
        config.write_text(text.replace("lease_s = 3.0", "lease_s = 45.0"))
        fleet.start_controller("--catalog", str(toy.make_catalog(folder / "catalog")))
        fleet.start_agent("real")
        with Client(fleet.address, fleet.credentials) as client:

            def listed() -> list[fleet_pb2.Device]:
                request = fleet_pb2.ListDevicesRequest(selector="name=herd*")
                return list(client.call(client.fleet.ListDevices, request).devices)

            real = client.call(client.fleet.ListDevices, fleet_pb2.ListDevicesRequest()).devices[0]
            facts = folder / CAPABLE_FILE
            facts.write_text(json.dumps(to_plain(real.capabilities)))

            def submit(selector: str, **parameters: str) -> str:
                values = {"marks": str(folder / "marks"), "duration_s": "0", **parameters}
                request = jobs_pb2.SubmitRequest(
                    campaign_id=uuid7(),
                    benchmark="toy",
                    selector=selector,
                    parameters={k: jobs_pb2.Values(values=[v]) for k, v in values.items()},
                )
                *_, last = client.stream(client.jobs.Submit, request)
                return str(last.result.jobs[0].job_id)

            def first_result_s() -> float:
                began = time.monotonic()
                job_id = submit("name=real")
                request = jobs_pb2.GetJobRequest(job_id=job_id)
                campaign = client.call(client.jobs.GetJob, request).job.campaign_id
                watch = jobs_pb2.WatchRequest(campaign_id=campaign)
                for event in client.stream(client.jobs.Watch, watch):
                    if event.job.run_id:
                        break
                return time.monotonic() - began

            figures["first_result_s"] = [round(first_result_s(), 3) for _ in range(6)]
            made = fleet.run("token", "create", "--approve", "--uses", str(agents), "--json")
            token = json.loads(made.stdout)["token"]
            simulated = child("herd", fleet.address, agents, facts, token=token)
            try:
                assert simulated.stdout is not None
                assert simulated.stdout.readline() == "enrolled\n"
                began = time.monotonic()
                while sum(d.presence == "online" for d in listed()) < agents:
                    time.sleep(0.05)
                figures["visible_s"] = round(time.monotonic() - began, 2)
                server = psutil.Process(fleet.children["controller"].pid)
                before, at = server.cpu_times(), time.monotonic()
                time.sleep(10)
                after = server.cpu_times()
                spent = after.user + after.system - before.user - before.system
                figures["idle_server_cores"] = round(spent / (time.monotonic() - at), 3)
                figures["server_rss_mib"] = round(server.memory_info().rss / 2**20)
                delays = []
                for number in range(dispatches):
                    began = time.monotonic()
                    submit(f"name=herd{number % agents:04}")
                    delays.append(float(simulated.stdout.readline().split()[1]) - began)
                figures["submit_to_accepted_ms"] = {
                    "p50": round(1000 * percentile(delays, 0.5), 1),
                    "p99": round(1000 * percentile(delays, 0.99), 1),
                }
            finally:
                simulated.kill()
                simulated.wait()
    return figures


def main() -> int:
    """Measure, or play a part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--dispatches", type=int, default=100)
    parser.add_argument("--role", nargs=4, metavar="PART", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        part, where, count, file = given.role
        work = {
            "herd": lambda: herd(where, int(count), Path(file)),
            "bare-server": lambda: bare_server(int(where), Path(file)),
            "bare-clients": lambda: bare_clients(int(where), int(count), Path(file)),
        }[part]
        asyncio.run(work())
        return 0
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(given.agents, given.dispatches, Path(folder)), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
