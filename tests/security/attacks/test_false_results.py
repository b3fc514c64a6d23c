"""False results from an enrolled device: its own raw logs contradict them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetmark_core.digest import sha256_hex
from fleetmark_core.records import Final, record_digest, seal
from fleetmark_protos.v1 import blobs_pb2, common_pb2, results_pb2, session_pb2
from tests.security.attacks.target import Member, Stream, Stubs, Target, outcome
from tests.support import LOADGEN_LOGS
from tests.support.processes import until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("attacks")]
ROLES = {
    "mlperf_log_summary.txt": "loadgen_summary",
    "mlperf_log_detail.txt": "loadgen_detail",
    "samples.i64": "samples",
    "result.json": "result",
}
Edit = Callable[[dict[str, bytes]], None]


class LyingDevice:
    """One device that sends false records."""

    def __init__(self, target: Target) -> None:
        self.target = target
        name = f"lying{time.monotonic_ns()}"
        self.member: Member = target.enroll(name, target.token(approve=True))
        self.stubs: Stubs = target.stubs(self.member)
        self.stream = Stream(self.stubs, target.hello(self.member))
        done = target.fleet.run(
            "schedule", "toy", "--fleet", f"name={name}", "--param", "marks=/tmp"
        )
        assert done.returncode == 0, done.stderr
        offer = next(m for m in self.stream.heard if m.HasField("offer")).offer
        self.attempt: common_pb2.AttemptRef = offer.attempt
        for state in (common_pb2.ATTEMPT_STATE_RUNNING, common_pb2.ATTEMPT_STATE_UPLOADING):
            report = session_pb2.AttemptReport(attempt=self.attempt, state=state)
            self.stream.send(attempt_report=report)

    def upload(self, data: bytes, sha256: str = "") -> None:
        header = blobs_pb2.UploadHeader(
            sha256=sha256 or sha256_hex(data),
            size_bytes=len(data),
            device_id=self.member.member_id,
        )
        messages = [blobs_pb2.UploadRequest(header=header)]
        for start in range(0, len(data), 65536):
            messages.append(blobs_pb2.UploadRequest(data=data[start : start + 65536]))
        self.stubs.blobs.Upload(iter(messages), timeout=20)

    def append(self, *records: results_pb2.Record) -> results_pb2.AppendReply:
        request = results_pb2.AppendRequest(attempt=self.attempt, records=records)
        reply = self.stubs.results.Append(request, timeout=20)
        assert isinstance(reply, results_pb2.AppendReply)
        return reply

    def hand_in(
        self,
        run: str,
        edit: Edit,
        provenance: dict[str, Any] | None = None,
        claim_files: Callable[[list[dict[str, Any]]], None] = lambda _: None,
    ) -> None:
        files = {name: (LOADGEN_LOGS / run / name).read_bytes() for name in ROLES}
        edit(files)
        claims: list[dict[str, Any]] = []
        for name, data in files.items():
            self.upload(data)
            digest = sha256_hex(data)
            claims.append(
                {"name": name, "role": ROLES[name], "sha256": digest, "size_bytes": len(data)}
            )
        claim_files(claims)
        records = [
            record(number, "file", json.dumps(claim).encode())
            for number, claim in enumerate(claims, 1)
        ]
        final = Final(
            len(records) + 1,
            seal(r.sha256 for r in records),
            "completed",
            "",
            0,
            False,
            time.time_ns(),
            10**9,
            provenance or {},
        )
        self.append(*records, record(len(records) + 1, "final", final.payload()))

    def verdict(self) -> tuple[str, str | None]:
        """Return the job's state and the run's validity."""
        job = self.attempt.job_id

        def ended() -> bool:
            rows = self.target.fleet.query(f"SELECT finished_at FROM jobs WHERE job_id = '{job}'")
            return rows[0][0] is not None

        until(ended, "the evaluation", 60)
        (row,) = self.target.fleet.query(
            "SELECT jobs.state, (SELECT loadgen_validity FROM runs WHERE runs.job_id = jobs.job_id)"
            f" FROM jobs WHERE job_id = '{job}'"
        )
        return str(row[0]), row[1]  # type: ignore[return-value]

    def end(self) -> None:
        self.stream.end()


def record(seq: int, kind: str, payload: bytes) -> results_pb2.Record:
    return results_pb2.Record(
        seq=seq, kind=kind, payload=payload, sha256=record_digest(seq, kind, payload)
    )


@pytest.fixture
def lying_device(target: Target) -> Any:
    made = LyingDevice(target)
    yield made
    made.end()
    assert target.answers()


def unchanged(files: dict[str, bytes]) -> None:
    """Leave the files as they are."""


def claim(files: dict[str, bytes]) -> None:
    """Claim VALID in the summary, against the detail log."""
    name = "mlperf_log_summary.txt"
    files[name] = files[name].replace(b"INVALID", b"VALID")


def garbage(files: dict[str, bytes]) -> None:
    files["mlperf_log_detail.txt"] = b"\xff\x00:::MLLOG {" * 1000


def empty(files: dict[str, bytes]) -> None:
    for name in files:
        files[name] = b""


def test_valid_results_count(lying_device: LyingDevice) -> None:
    lying_device.hand_in("singlestream_performance", unchanged)
    state, validity = lying_device.verdict()
    assert (state, validity) in (("SUCCEEDED", "VALID"), ("INVALID", "INVALID"))


@pytest.mark.parametrize("edit", [unchanged, claim], ids=["as it is", "claiming VALID"])
def test_an_invalid_log_is_invalid_whatever_is_claimed(
    lying_device: LyingDevice, edit: Edit
) -> None:
    lying_device.hand_in(
        "singlestream_invalid", edit, {"loadgen_validity": "VALID", "submittable": True}
    )
    state, validity = lying_device.verdict()
    assert state in ("INVALID", "FAILED")
    assert validity != "VALID"


@pytest.mark.parametrize("edit", [garbage, empty], ids=["garbage", "nothing"])
def test_logs_that_are_none_fail_their_job_alone(lying_device: LyingDevice, edit: Edit) -> None:
    lying_device.hand_in("singlestream_performance", edit)
    state, validity = lying_device.verdict()
    assert state in ("FAILED", "INVALID") and validity != "VALID"


def test_a_log_that_was_changed_after_its_digest_is_refused(lying_device: LyingDevice) -> None:
    data = (
        LOADGEN_LOGS / "singlestream_performance" / "mlperf_log_detail.txt"
    ).read_bytes() + b"\n"
    digest = sha256_hex(data)
    changed = data.replace(b"0", b"1", 1)
    assert outcome(lambda: lying_device.upload(changed, digest)) == "DIGEST_MISMATCH"
    assert lying_device.target.refusals()[-1][2] == "DIGEST_MISMATCH"
    assert not list(lying_device.target.fleet.home.glob(f"blobs/**/{digest}*"))


def test_one_device_does_not_fill_the_disk(lying_device: LyingDevice) -> None:
    limit = lying_device.target.daily_bytes
    header = blobs_pb2.UploadHeader(
        sha256="ab" * 32, size_bytes=limit + 1, device_id=lying_device.member.member_id
    )
    messages = iter([blobs_pb2.UploadRequest(header=header)])
    assert outcome(lambda: lying_device.stubs.blobs.Upload(messages, timeout=20)) == "BACK_PRESSURE"


def test_another_payload_under_the_same_number_alarms_and_the_first_stays(
    lying_device: LyingDevice,
) -> None:
    assert lying_device.append(record(1, "event", b'{"a": 1}')).through_seq == 1
    assert lying_device.append(record(1, "event", b'{"a": 2}')).through_seq == 1
    job = lying_device.attempt.job_id
    fleet = lying_device.target.fleet
    assert fleet.query(f"SELECT payload FROM record WHERE job_id = '{job}'") == [(b'{"a": 1}',)]
    alarms = fleet.query(
        f"SELECT count(*) FROM events WHERE kind = 'alarm.record_differs' AND job_id = '{job}'"
    )
    assert alarms == [(1,)]


def test_a_seal_that_does_not_fit_fails_the_job(lying_device: LyingDevice) -> None:
    final = Final(2, "00" * 32, "completed", "", 0, False, time.time_ns(), 10**9, {})
    lying_device.append(record(1, "event", b"{}"), record(2, "final", final.payload()))
    state, validity = lying_device.verdict()
    assert (state, validity) == ("FAILED", None)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b'{"a": ' * 100_000,
        b'{"a": ' * 500 + b"1" + b"}" * 500,
        b'{"columns": ["elapsed_ms"], "rows": [[NaN]]}',
        b'{"columns": ["elapsed_ms"], "rows": [[1e999]]}',
        b'{"rows": "\\ud800"}',
        b'{"a": "\xff"}',
        b'{"a": 1} {}',
    ],
)
def test_records_that_the_views_could_not_read_are_refused(
    lying_device: LyingDevice, payload: bytes
) -> None:
    assert outcome(lambda: lying_device.append(record(1, "telemetry", payload))) == "BAD_MESSAGE"
    assert lying_device.target.refusals()[-1][2] == "BAD_MESSAGE"
    for view in ("telemetry", "runs", "events", "results"):
        assert lying_device.target.fleet.query(f"SELECT count(*) FROM {view}")


def test_telemetry_of_another_shape_fails_its_job_alone(lying_device: LyingDevice) -> None:
    payload = json.dumps({"columns": ["=cmd()"] * 50, "rows": [["x"] * 50] * 50}).encode()
    final = Final(
        2,
        seal([record_digest(1, "telemetry", payload)]),
        "completed",
        "",
        0,
        False,
        time.time_ns(),
        10**9,
        {},
    )
    lying_device.append(record(1, "telemetry", payload), record(2, "final", final.payload()))
    state, _ = lying_device.verdict()
    assert state in ("FAILED", "INVALID")
    assert lying_device.target.fleet.query("SELECT count(*) FROM telemetry")


def test_texts_of_a_device_move_no_terminal_and_no_spreadsheet(
    lying_device: LyingDevice, tmp_path: Path
) -> None:
    report = session_pb2.AttemptReport(
        attempt=lying_device.attempt,
        state=common_pb2.ATTEMPT_STATE_ABORTED,
        reason='=HYPERLINK("http://x")\x1b[2J<script>alert(1)</script>',
    )
    lying_device.stream.send(attempt_report=report)
    until(
        lambda: lying_device.target.fleet.query(
            "SELECT 1 FROM attempts WHERE reason <> ''"
            f" AND job_id = '{lying_device.attempt.job_id}'"
        ),
        "the report",
    )
    shown = lying_device.target.fleet.run("jobs", "show", lying_device.attempt.job_id)
    assert "\x1b" not in shown.stdout
    out = tmp_path / "attempts.csv"
    done = lying_device.target.fleet.run(
        "export", "--format", "csv", "--view", "attempts", "--out", str(out)
    )
    assert done.returncode == 0, done.stderr
    assert "'=HYPERLINK" in out.read_text() and "\x1b" not in out.read_text()
    page = tmp_path / "report.html"
    done = lying_device.target.fleet.run("export", "--format", "html", "--out", str(page))
    assert done.returncode == 0, done.stderr
    assert "<script>alert" not in page.read_text()
