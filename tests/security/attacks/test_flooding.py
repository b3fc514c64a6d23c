"""Floods: idle connections, slow and silent callers, and refusals without end."""

from __future__ import annotations

import os
import queue
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from fleetmark_controller.api.capability_serde import capabilities_to
from fleetmark_controller.home.settings import ControllerSettings
from fleetmark_controller.store import events
from fleetmark_controller.store.devices.capability_history import MOST_A_DAY
from fleetmark_core.digest import canonical_json, sha256_hex
from fleetmark_protos.v1 import blobs_pb2, enrollment_pb2, fleet_pb2, results_pb2, session_pb2
from tests.security.attacks.target import FACTS, Member, Stream, Target, outcome, replace
from tests.security.attacks.test_false_results import record
from tests.support.processes import PATIENCE_S, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("attacks")]
LIST = fleet_pb2.ListDevicesRequest()
QUICK_S = 15.0
"""Generous: what is shown is that others are served, not how fast."""


def connections(target: Target, count: int, first: bytes) -> list[socket.socket]:
    """Open connections, half of them on each port."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * count)), hard))
    found = []
    for number in range(count):
        host, _, port = (target.entry if number % 2 else target.fleet.address).rpartition(":")
        line = socket.create_connection((host, int(port)), timeout=QUICK_S)
        if first:
            line.sendall(first)
        found.append(line)
    return found


@pytest.mark.parametrize(
    "first", [b"", b"\x16\x03\x01", os.urandom(4000)], ids=["idle", "slow", "noise"]
)
def test_a_thousand_connections_that_say_nothing_sensible(target: Target, first: bytes) -> None:
    with ExitStack() as stack:
        for line in connections(target, 1000, first):
            stack.callback(line.close)
        began = time.monotonic()
        assert target.answers()
        assert time.monotonic() - began < QUICK_S
    assert target.answers()


def test_endless_uploads_do_not_stop_other_devices(target: Target) -> None:
    """Twenty operators' uploads, each with a byte and then silence."""
    released = threading.Event()

    def messages() -> Iterator[blobs_pb2.UploadRequest]:
        data = os.urandom(100)
        header = blobs_pb2.UploadHeader(sha256=sha256_hex(data), size_bytes=100)
        yield blobs_pb2.UploadRequest(header=header)
        yield blobs_pb2.UploadRequest(data=data[:1])
        released.wait(60)

    calls = [
        target.stubs(target.operators["operator"]).blobs.Upload.future(messages())
        for _ in range(20)
    ]
    try:
        time.sleep(0.5)
        assert target.answers()
        assert outcome(lambda: target.stubs(target.mallory).fleet.ListDevices(LIST)) == "FORBIDDEN"
    finally:
        released.set()
        for call in calls:
            call.cancel()
    blobs = target.fleet.home / "blobs"
    end = time.monotonic() + QUICK_S
    while any(path.suffix for path in blobs.rglob("*.*")) and time.monotonic() < end:
        time.sleep(0.1)
    assert not [path for path in blobs.rglob("*.*") if path.is_file()], "nothing is left of them"


def test_agents_that_never_send_hello_do_not_stop_other_devices(target: Target) -> None:
    # A new identity, of which no refusal was counted in this minute.
    silent_device = target.enroll("silent", target.token(approve=True))
    silent: queue.Queue[Any] = queue.Queue()
    calls = [
        target.stubs(silent_device).session.Connect(iter(silent.get, None)) for _ in range(100)
    ]
    try:
        most = ControllerSettings().calls_per_device
        until(lambda: sum(call.done() for call in calls) >= len(calls) - most, "refusals", QUICK_S)
        assert target.answers()
        refused = [call for call in calls if call.done()]
        assert len(refused) == len(calls) - most
        assert {outcome(lambda c=call: list(c)) for call in refused} == {"BACK_PRESSURE"}  # type: ignore[misc]
        assert any("silent" in who for who, _, kind in target.refusals() if kind == "BACK_PRESSURE")
    finally:
        for call in calls:
            call.cancel()
    # Calls that have ended count no longer.
    until(lambda: outcome(lambda: target.connect(silent_device)) == "PROTOCOL", "room", QUICK_S)


def test_a_flood_of_heartbeats_does_not_stop_other_devices(target: Target) -> None:
    stream = Stream(target.stubs(target.mallory), target.hello(target.mallory))
    try:
        for number in range(20_000):
            stream.send(heartbeat=session_pb2.Heartbeat(sequence=number, idle=True))
        assert target.answers()
        answered = sum(1 for _ in zip(range(1000), stream.heard, strict=False))
        assert answered == 1000
    finally:
        stream.end()


def test_pending_enrollments_do_not_stop_other_devices(target: Target) -> None:
    members = [target.apply(f"crowd{number}") for number in range(20)]
    calls = []
    for member in members:
        request = target.application(member.name, "", member.pair.key, member.member_id)
        calls.append(target.stubs().enrollment.Enroll(request))
    try:
        assert all(next(call).HasField("pending") for call in calls)
        assert target.answers()
    finally:
        for call in calls:
            call.cancel()


def test_refusals_without_end_do_not_fill_the_log(target: Target) -> None:
    # A new identity, of which no refusal was counted in this minute.
    stubs = target.stubs(target.operator("viewer"))
    before = len(target.refusals())
    for _ in range(200):
        with pytest.raises(grpc.RpcError):
            stubs.fleet.Approve(fleet_pb2.ApproveRequest(name="x"))
    assert 1 <= len(target.refusals()) - before <= 60
    assert target.answers()


def test_a_stream_is_ended_in_its_middle_when_its_device_is_revoked(target: Target) -> None:
    member = target.enroll("unlucky", target.token(approve=True))
    stream = Stream(target.stubs(member), target.hello(member))
    began = time.monotonic()
    target.stubs(target.admin).fleet.Revoke(fleet_pb2.RevokeRequest(name="unlucky"))
    assert outcome(lambda: list(stream.heard)) == "REVOKED"
    assert time.monotonic() - began < 5
    renew = enrollment_pb2.RenewRequest(csr=target.application("x", "", member.pair.key, "").csr)
    assert outcome(lambda: target.stubs().enrollment.Renew(renew)) == "REVOKED"
    assert target.answers()


def rows(target: Target, member: Member, kind: str) -> list[tuple[object, ...]]:
    return target.fleet.query(
        "SELECT coalesce(json_extract(detail, '$.repeated'), 0) FROM event"
        f" WHERE device_id = '{member.member_id}' AND kind = '{kind}' ORDER BY event_id"
    )


def test_alarms_without_end_are_counted_and_not_stored(target: Target) -> None:
    """Each record differs from the one that is stored under its number."""
    stubs = target.stubs(target.victim)
    store = target.fleet.home / "results.db"
    before = len(rows(target, target.victim, "alarm.record_differs"))
    for number in range(5):
        records = [
            record(1_000, "event", canonical_json({"phase": f"{number} {item}"}))
            for item in range(1_000)
        ]
        request = results_pb2.AppendRequest(attempt=target.attempt, records=records)
        stubs.results.Append(request, timeout=PATIENCE_S)
    found = rows(target, target.victim, "alarm.record_differs")
    assert len(found) - before <= events.MOST_AN_HOUR
    assert sum(int(str(row[0])) + 1 for row in found) == 5 * 1_000 - 1, "none is forgotten"
    assert store.stat().st_size < 50_000_000
    assert target.answers()


def test_facts_that_change_without_end_are_counted_and_not_stored(target: Target) -> None:
    member = target.enroll("moody", target.token(approve=True))
    stream = Stream(target.stubs(member), target.hello(member))
    try:
        for number in range(300):
            memory = replace(FACTS.memory, total_bytes=10**9 + number)
            changed = session_pb2.CapabilitiesChanged(
                capabilities=capabilities_to(replace(FACTS, memory=memory))
            )
            stream.send(capabilities_changed=changed)
        stream.send(heartbeat=session_pb2.Heartbeat(sequence=9, idle=True))
        next(m for m in stream.heard if m.HasField("heartbeat_ack"))
    finally:
        stream.end()
    found = rows(target, member, "device.capabilities")
    assert len(found) == events.MOST_AN_HOUR and found[-1] == (300 - events.MOST_AN_HOUR,)
    kept = target.fleet.query(
        f"SELECT count(*) FROM device_history WHERE device_id = '{member.member_id}'"
    )
    assert kept == [(MOST_A_DAY,)]
    assert target.answers()


def test_hellos_without_end_are_counted_and_not_stored(target: Target) -> None:
    member = target.enroll("restless", target.token(approve=True))
    for number in range(150):
        Stream(target.stubs(member), target.hello(member, boot_id=f"b{number}")).end()
    found = rows(target, member, "device.connected")
    assert len(found) == events.MOST_AN_HOUR and found[-1] == (149 - events.MOST_AN_HOUR,)
    assert target.answers()
