"""The session stream over real gRPC: what a faulty agent receives, and what it cannot break."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from fleetmark_catalog.load import load_catalog
from fleetmark_controller.api import session
from fleetmark_controller.api.capability_serde import capabilities_to
from fleetmark_controller.api.session import SessionService
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.home.settings import ControllerSettings
from fleetmark_controller.store.db.connection import migrate
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.errors import ErrorKind
from fleetmark_protos.status import from_rpc_error
from fleetmark_protos.v1 import common_pb2, session_pb2, session_pb2_grpc
from tests.support.signing_keys import device_pair, secured


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[session_pb2_grpc.SessionStub]:
    migrate(tmp_path / "results.db")
    engine = Engine(
        tmp_path / "results.db", tmp_path / "blobs", ControllerSettings(), load_catalog()
    )
    await engine.start(1)
    async with secured(engine) as (server, start):
        session_pb2_grpc.add_SessionServicer_to_server(SessionService(engine), server)
        channel = await start(await device_pair(engine, "d1"))
        yield session_pb2_grpc.SessionStub(channel)
    await engine.stop()


def hello(facts: Capabilities, **changes: object) -> session_pb2.AgentMessage:
    values: dict[str, object] = {
        "protocol": 1,
        "agent_version": "0",
        "device_id": "d1",
        "name": "device",
        "boot_id": "b",
        "capabilities": capabilities_to(facts),
        "idle": True,
    }
    return session_pb2.AgentMessage(hello=session_pb2.Hello(**{**values, **changes}))


async def refusal(
    stub: session_pb2_grpc.SessionStub, *messages: session_pb2.AgentMessage
) -> tuple[ErrorKind, str]:
    stream = stub.Connect()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        for message in messages:
            await stream.write(message)
        while await stream.read() is not grpc.aio.EOF:
            pass
    error = from_rpc_error(caught.value, "here")
    return error.kind, str(error)


async def test_a_welcome_contains_the_intervals(
    stub: session_pb2_grpc.SessionStub, x86_device: Capabilities
) -> None:
    stream = stub.Connect()
    await stream.write(hello(x86_device))
    welcome = (await stream.read()).welcome
    assert (welcome.protocol, welcome.lease_ns) == (1, 30_000_000_000)
    assert welcome.controller_id


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"protocol": 9}, ErrorKind.PROTOCOL, "Update the controller"),
        ({"name": ""}, ErrorKind.BAD_MESSAGE, "name"),
        ({"name": "x" * 101}, ErrorKind.BAD_MESSAGE, "name"),
        ({"name": "a\x1b[31m"}, ErrorKind.BAD_MESSAGE, "name"),
        ({"device_id": ""}, ErrorKind.BAD_MESSAGE, "device id"),
        ({"device_id": "other"}, ErrorKind.FORBIDDEN, "'other'"),
        (
            {
                "attempts": [
                    session_pb2.AttemptReport(
                        attempt=common_pb2.AttemptRef(device_id="other", job_id="j", epoch=1),
                        state=common_pb2.ATTEMPT_STATE_RUNNING,
                    )
                ]
            },
            ErrorKind.BAD_MESSAGE,
            "another device",
        ),
    ],
)
async def test_a_wrong_hello_is_refused_with_a_reason(
    stub: session_pb2_grpc.SessionStub,
    x86_device: Capabilities,
    changes: dict[str, object],
    kind: ErrorKind,
    words: str,
) -> None:
    found, text = await refusal(stub, hello(x86_device, **changes))
    assert found is kind
    assert words in text


async def test_a_stream_begins_with_a_hello(stub: session_pb2_grpc.SessionStub) -> None:
    found, text = await refusal(stub, session_pb2.AgentMessage(heartbeat=session_pb2.Heartbeat()))
    assert (found, "hello" in text) == (ErrorKind.PROTOCOL, True)


async def test_what_goes_wrong_later_ends_the_stream_with_its_reason(
    stub: session_pb2_grpc.SessionStub, x86_device: Capabilities
) -> None:
    report = session_pb2.AttemptReport(
        attempt=common_pb2.AttemptRef(device_id="other", job_id="j", epoch=1),
        state=common_pb2.ATTEMPT_STATE_RUNNING,
    )
    found, text = await refusal(
        stub, hello(x86_device), session_pb2.AgentMessage(attempt_report=report)
    )
    assert found is ErrorKind.FENCED
    assert "another device" in text


async def test_an_unknown_attempt_is_stopped(
    stub: session_pb2_grpc.SessionStub, x86_device: Capabilities
) -> None:
    stream = stub.Connect()
    await stream.write(hello(x86_device))
    await stream.read()
    report = session_pb2.AttemptReport(
        attempt=common_pb2.AttemptRef(device_id="d1", job_id="j", epoch=1),
        state=common_pb2.ATTEMPT_STATE_REFUSED,
    )
    await stream.write(session_pb2.AgentMessage(attempt_report=report))
    stop = (await stream.read()).stop
    assert stop.attempt.job_id == "j"
    assert "unknown" in stop.reason


async def test_a_stream_without_a_hello_is_ended(
    stub: session_pb2_grpc.SessionStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_HELLO_S", 0.1)
    kind, text = await refusal(stub)
    assert kind is ErrorKind.PROTOCOL and "did not send its hello in time" in text
