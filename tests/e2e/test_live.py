"""A campaign as it is watched live, on a device with a thermometer, which the test plays itself."""

from __future__ import annotations

import json
import queue
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from fleetmark_agent.helpers.tls_probe import trusted_ca
from fleetmark_controller.api.capability_serde import capabilities_to
from fleetmark_controller.client.connection import Client
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.device_keys import make_key, signing_request
from fleetmark_core.ids import uuid7
from fleetmark_protos.channel import client_options
from fleetmark_protos.token import parse_token
from fleetmark_protos.v1 import (
    common_pb2,
    enrollment_pb2,
    enrollment_pb2_grpc,
    jobs_pb2,
    session_pb2,
    session_pb2_grpc,
)
from tests.support import noop_benchmark as toy
from tests.support.processes import Fleet, fleet_in, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
WATCHERS = 100
HOT_C = 61.4


class Thermometer:
    """A device that takes every offer, is two fifths through it, and is hot; it stops if asked."""

    def __init__(self, fleet: Fleet, name: str, facts: Capabilities) -> None:
        token = parse_token(fleet.token)
        host = fleet.address.rpartition(":")[0]
        ca = trusted_ca(host, token.entry_port, token.ca_sha256)
        key, self.device_id = make_key(), uuid7()
        with grpc.secure_channel(
            f"{host}:{token.entry_port}", grpc.ssl_channel_credentials(ca), client_options()
        ) as entry:
            request = enrollment_pb2.EnrollRequest(
                token=fleet.token, csr=signing_request(key), device_id=self.device_id, name=name
            )
            (event,) = enrollment_pb2_grpc.EnrollmentStub(entry).Enroll(request)
        credentials = grpc.ssl_channel_credentials(ca, key, event.certificate.certificate)
        self._channel = grpc.secure_channel(fleet.address, credentials, client_options())
        self._outbox: queue.Queue[session_pb2.AgentMessage | None] = queue.Queue()
        self._held: common_pb2.AttemptRef | None = None
        hello = session_pb2.Hello(
            protocol=1,
            agent_version="0",
            device_id=self.device_id,
            name=name,
            boot_id="boot",
            capabilities=capabilities_to(facts),
            idle=True,
        )
        self._outbox.put(session_pb2.AgentMessage(hello=hello))
        stream = session_pb2_grpc.SessionStub(self._channel).Connect(iter(self._outbox.get, None))
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._listen, args=(stream,), daemon=True),
            threading.Thread(target=self._beat, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        self._ended.set()
        self._outbox.put(session_pb2.AgentMessage(bye=session_pb2.Bye(reason="done")))
        self._outbox.put(None)
        self._threads[0].join(10)
        self._channel.close()

    def _listen(self, stream: Iterator[session_pb2.ControllerMessage]) -> None:
        for message in stream:
            body = message.WhichOneof("body")
            if body == "offer":
                self._held = message.offer.attempt
                for state in ("PREPARING", "RUNNING"):
                    self._report(state)
            elif body == "stop" and self._held is not None:
                self._report("ABORTED")
                self._held = None

    def _beat(self) -> None:
        number = 0
        while not self._ended.wait(0.3):
            number += 1
            beat = session_pb2.Heartbeat(
                sequence=number, idle=self._held is None, temperature_c=HOT_C
            )
            if self._held is not None:
                beat.attempts.append(self._output("RUNNING"))
            self._outbox.put(session_pb2.AgentMessage(heartbeat=beat))

    def _report(self, state: str) -> None:
        self._outbox.put(session_pb2.AgentMessage(attempt_report=self._output(state)))

    def _output(self, state: str) -> session_pb2.AttemptReport:
        return session_pb2.AttemptReport(
            attempt=self._held,
            state=common_pb2.AttemptState.Value(f"ATTEMPT_STATE_{state}"),
            progress=common_pb2.Progress(phase="run", done=2, total=5),
        )


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("live")) as fleet:
        fleet.start_controller("--catalog", str(toy.make_catalog(fleet.folder / "catalog")))
        yield fleet


def ok(fleet: Fleet, *arguments: str) -> str:
    done = fleet.run(*arguments)
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def test_phase_share_temperature_and_time_left_are_shown_to_all_who_watch(
    fleet: Fleet, x86_device: Capabilities
) -> None:
    device = Thermometer(fleet, "hot", x86_device)
    until(lambda: fleet.presence("hot") == "online", "the device")
    words = ("schedule", "toy", "--param", f"marks={fleet.folder}", "--param", "duration_s=60")
    waiting = fleet.start(*words, "--wait")
    until(lambda: "run 40 %, 61 °C" in ok(fleet, "fleet", "list"), "its progress")
    assert "toy SingleStream performance" in ok(fleet, "fleet", "show", "hot")
    campaign = json.loads(ok(fleet, "jobs", "list", "--json"))[0]["campaign_id"]
    seen = threading.Barrier(WATCHERS + 1)

    def watched() -> tuple[float, str]:
        """Return the temperature and the last state that a watcher received."""
        temperature, state = 0.0, ""
        request = jobs_pb2.WatchRequest(campaign_id=campaign)
        for event in client.stream(client.jobs.Watch, request):
            if event.WhichOneof("body") == "progress" and not temperature:
                temperature = event.progress.temperature_c
                seen.wait(60)
            elif event.WhichOneof("body") == "job":
                state = event.job.state
        return temperature, state

    with (
        Client(fleet.address, fleet.credentials) as client,
        ThreadPoolExecutor(WATCHERS) as pool,
    ):
        watchers = [pool.submit(watched) for _ in range(WATCHERS)]
        seen.wait(60)  # each received the progress
        assert waiting.stdout is not None
        line = b""
        while b" run 40 %" not in line:
            line = waiting.stdout.readline()
            assert line, "the command ended too early"
        assert re.search(r"\[0/1\] hot toy .* run 40 %, 61 °C, [0-9]+ s left", line.decode())
        assert "hot confirmed" in ok(fleet, "campaign", "cancel", campaign)
        assert {watcher.result(60) for watcher in watchers} == {(HOT_C, "CANCELLED")}
    assert waiting.wait(60) == 1
    until(lambda: "idle" in ok(fleet, "fleet", "list"), "its rest")
    device.leave()
    until(lambda: fleet.presence("hot") in ("suspect", "offline"), "its end")
    until(lambda: fleet.presence("hot") == "offline", "the end of its lease")
