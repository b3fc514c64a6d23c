"""A device that accesses other devices' jobs and fills the controller's disk."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fleetmark_core.digest import sha256_hex
from fleetmark_protos.v1 import blobs_pb2, common_pb2, jobs_pb2, session_pb2
from tests.security.attacks.target import Stream, Target, outcome
from tests.security.attacks.test_false_results import LyingDevice, record

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("attacks")]


@pytest.fixture
def lying_device(target: Target) -> Any:
    made = LyingDevice(target)
    yield made
    made.end()
    assert target.answers()


def rows_of(target: Target, lying_device: LyingDevice) -> list[tuple[str, str, str]]:
    return [row for row in target.refusals() if lying_device.member.name in row[0]]


def settled(look: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not look() and time.monotonic() < end:
        time.sleep(0.05)
    assert look()


class Watcher:
    """An operator who watches the victim's campaign."""

    def __init__(self, target: Target) -> None:
        (row,) = target.fleet.query(
            f"SELECT campaign_id FROM jobs WHERE job_id = '{target.attempt.job_id}'"
        )
        stubs = target.stubs(target.operators["operator"])
        request = jobs_pb2.WatchRequest(campaign_id=str(row[0]))
        self.phases: list[str] = []
        self._call = stubs.jobs.Watch(request, timeout=120)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            for event in self._call:
                if event.WhichOneof("body") == "progress":
                    self.phases.append(event.progress.progress.phase)
        except Exception:  # the call was cancelled
            return

    def end(self) -> None:
        self._call.cancel()


def acknowledged_by(stream: Stream) -> Iterator[int]:
    return (m.heartbeat_ack.sequence for m in stream.heard if m.HasField("heartbeat_ack"))


def report(job_id: str, device_id: str, epoch: int, phase: str) -> session_pb2.AttemptReport:
    return session_pb2.AttemptReport(
        attempt=common_pb2.AttemptRef(device_id=device_id, job_id=job_id, epoch=epoch),
        state=common_pb2.ATTEMPT_STATE_RUNNING,
        progress=common_pb2.Progress(phase=phase, done=1, total=2),
    )


@pytest.mark.parametrize("way", ["heartbeat", "report"])
def test_progress_of_another_devices_job_is_dropped(
    target: Target, lying_device: LyingDevice, way: str
) -> None:
    watcher = Watcher(target)
    try:
        own = target.attempt
        honest = session_pb2.Heartbeat(
            sequence=1, attempts=[report(own.job_id, own.device_id, own.epoch, "honest")]
        )

        def shown() -> bool:
            target.stream.send(heartbeat=honest)
            return "honest" in watcher.phases

        settled(shown)
        lie = report(own.job_id, lying_device.member.member_id, own.epoch, "lie")
        if way == "heartbeat":
            lying_device.stream.send(heartbeat=session_pb2.Heartbeat(sequence=2, attempts=[lie]))
        else:
            lying_device.stream.send(attempt_report=lie)
        settled(lambda: bool(rows_of(target, lying_device)))
        assert rows_of(target, lying_device)[-1][2] == "FENCED"
        # The stream goes on: a device may honestly hold what a restored controller has forgotten.
        lying_device.stream.send(heartbeat=session_pb2.Heartbeat(sequence=77))
        assert 77 in acknowledged_by(lying_device.stream)
        before = watcher.phases.count("honest")
        settled(lambda: shown() and watcher.phases.count("honest") > before)
        assert "lie" not in watcher.phases
        listed = target.fleet.run("fleet", "show", lying_device.member.name)
        assert "lie" not in listed.stdout
    finally:
        watcher.end()
        # What was answered meanwhile is heard, for those who come after.
        target.stream.send(heartbeat=session_pb2.Heartbeat(sequence=5000))
        assert 5000 in acknowledged_by(target.stream)


def test_a_flood_of_such_progress_is_logged_once(target: Target, lying_device: LyingDevice) -> None:
    own = target.attempt
    lie = report(own.job_id, lying_device.member.member_id, own.epoch, "lie")
    for number in range(200):
        lying_device.stream.send(heartbeat=session_pb2.Heartbeat(sequence=number, attempts=[lie]))
    assert 199 in acknowledged_by(lying_device.stream)
    assert len(rows_of(target, lying_device)) == 1


def test_a_download_is_counted_only_for_its_own_attempt(
    target: Target, lying_device: LyingDevice
) -> None:
    """What was sent to a device is shown for its own attempt, whatever attempt it names."""
    sent = "SELECT bytes_sent FROM attempt WHERE job_id = '{}'"
    order = target.fleet.query(
        "SELECT lock_sha256 FROM job JOIN job_option USING (option_set_id)"
        f" WHERE job_id = '{lying_device.attempt.job_id}'"
    )
    request = blobs_pb2.DownloadRequest(sha256=str(order[0][0]), attempt=target.attempt)
    before = target.fleet.query(sent.format(target.attempt.job_id))
    assert outcome(lambda: lying_device.stubs.blobs.Download(request, timeout=20)) == "FORBIDDEN"
    assert rows_of(target, lying_device)[-1][2] == "FORBIDDEN"
    assert target.fleet.query(sent.format(target.attempt.job_id)) == before


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 1, 1 << 40])
def test_an_offset_beyond_the_end_is_refused_or_gives_nothing(
    target: Target, lying_device: LyingDevice, offset: int
) -> None:
    order = target.fleet.query(
        "SELECT lock_sha256 FROM job JOIN job_option USING (option_set_id)"
        f" WHERE job_id = '{lying_device.attempt.job_id}'"
    )
    request = blobs_pb2.DownloadRequest(sha256=str(order[0][0]), offset=offset)
    found = outcome(lambda: lying_device.stubs.blobs.Download(request, timeout=20))
    assert found == ("OK" if offset < 1 << 62 else "BAD_MESSAGE")


@pytest.mark.parametrize("who", ["device", "operator"])
def test_an_upload_of_nothing_at_all_is_refused(
    target: Target, lying_device: LyingDevice, who: str
) -> None:
    stubs = lying_device.stubs if who == "device" else target.stubs(target.operators["operator"])
    assert outcome(lambda: stubs.blobs.Upload(iter([]), timeout=20)) == "BAD_MESSAGE"
    assert target.refusals()[-1][2] == "BAD_MESSAGE"


def test_no_more_files_than_the_attempt_can_have(target: Target, lying_device: LyingDevice) -> None:
    """Its lock declares how many outputs a job has: a device's disk may be large, ours is ours."""
    count = 0

    def another() -> str:
        data = os.urandom(100)
        return outcome(lambda: lying_device.upload(data))

    while (found := another()) == "OK":
        count += 1
        assert count < 50
    assert found == "FORBIDDEN"
    assert rows_of(target, lying_device)[-1][2] == "FORBIDDEN"
    assert 3 <= count < 50, "stdout, stderr and outputs do fit"
    known = os.urandom(100)
    header = blobs_pb2.UploadHeader(
        sha256=sha256_hex(known), size_bytes=100, device_id=lying_device.member.member_id
    )
    # One that fails costs nothing, or a bad link would use an honest device's allowance up.
    other = LyingDevice(target)
    header.device_id = other.member.member_id
    try:
        for _ in range(60):
            messages = iter(
                [blobs_pb2.UploadRequest(header=header), blobs_pb2.UploadRequest(data=b"x" * 101)]
            )
            assert outcome(lambda m=messages: other.stubs.blobs.Upload(m)) == "BAD_MESSAGE"  # type: ignore[misc]
        other.upload(known)
    finally:
        other.end()


def test_records_count_towards_what_a_device_hands_in_a_day(
    target: Target, lying_device: LyingDevice
) -> None:
    """Ten thousand attempts' worth of records must not fill the disk either."""
    payload = b'{"a": "' + b"x" * 250_000 + b'"}'
    sent = 0
    for seq in range(1, 1000):
        found = outcome(lambda n=seq: lying_device.append(record(n, "event", payload)))  # type: ignore[misc]
        if found != "OK":
            break
        sent += len(payload)
    assert found == "BACK_PRESSURE"
    assert sent <= target.daily_bytes
