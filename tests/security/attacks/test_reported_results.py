"""Whatever a device or its program hands in ends in a run or in a failure with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetmark_core.bundle_file import DeviceSignedDocument
from fleetmark_core.device_keys import sign_document, signing_request
from fleetmark_protos.v1 import results_pb2
from tests.security.attacks.target import Target, outcome
from tests.security.attacks.test_false_results import LyingDevice, unchanged

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("attacks")]
Claims = list[dict[str, Any]]

RESULTS: dict[str, Any] = {
    "a list": [1],
    "a text": "ok",
    "a number": 1,
    "true": True,
    "a runtime that is a text": {"runtime": "onnxruntime"},
    "a runtime that is a list": {"runtime": ["onnxruntime", "1.20"]},
    "a version that is a list": {"runtime": {"version": [1, 20]}},
    "a version without end": {"runtime": {"version": "1" * 5000}},
    "a provider that is a table": {"runtime": {"provider": {"name": "CPU"}}},
    "an integer beyond 64 bits": {"query_count": 2**63},
    "an integer of 300 digits": {"peak_memory_bytes": 10**300},
    "a negative count": {"sample_count": -1},
    "a calibration that is a list": {"calibration": [1, 2]},
    "a search that is a text": {"search": "yes"},
    "an accuracy without numbers": {"accuracy": {"value": "0.9"}},
}


def rename(index: int, name: Any) -> Callable[[Claims], None]:
    def change(claims: Claims) -> None:
        claims[index]["name"] = name

    return change


def change(index: int, **values: Any) -> Callable[[Claims], None]:
    return lambda claims: claims[index].update(values)


def double(claims: Claims) -> None:
    claims.append(dict(claims[0]))


def drop_name(claims: Claims) -> None:
    del claims[0]["name"]


FILES: dict[str, Callable[[Claims], None]] = {
    "a way out of the folder": rename(3, "../home/.bashrc"),
    "an absolute path": rename(3, "/etc/cron.d/evil"),
    "a path of Windows": rename(3, "..\\evil.bat"),
    "a drive of Windows": rename(3, "C:evil"),
    "a device of Windows": rename(3, "CON"),
    "a stream of Windows": rename(3, "result.json:evil"),
    "a dot at the end": rename(3, "result.json."),
    "an empty name": rename(3, ""),
    "the folder itself": rename(3, "."),
    "a name that is a number": rename(3, 7),
    "a name that moves the cursor": rename(3, "\x1b[2Jresult.json"),
    "a file that is no declared output": rename(3, "authorized_keys"),
    "a name in other letters": rename(3, "RESULT.JSON"),
    "no name": drop_name,
    "the role of another file": change(3, role="loadgen_summary"),
    "a role that is a list": change(3, role=["result"]),
    "two files of one name": double,
    "a size of 10^30": change(3, size_bytes=10**30),
    "a negative size": change(3, size_bytes=-1),
    "a size that is a text": change(3, size_bytes="7"),
    "a size that is true": change(3, size_bytes=True),
}
AT_THE_DOOR: dict[str, Callable[[Claims], None]] = {
    "half a letter": rename(3, "result.json\ud800"),
    "a digest that is a path": change(3, sha256="../../results.db"),
    "a digest that is a number": change(3, sha256=5),
    "a digest of nothing": change(3, sha256="0" * 64),
}


@pytest.fixture
def lying_device(target: Target) -> Any:
    made = LyingDevice(target)
    yield made
    made.end()
    assert target.answers()


def reason(lying_device: LyingDevice) -> str:
    job = lying_device.attempt.job_id
    ((found,),) = lying_device.target.fleet.query(f"SELECT reason FROM jobs WHERE job_id = '{job}'")
    return str(found)


def runs_of(lying_device: LyingDevice) -> int:
    job = lying_device.attempt.job_id
    ((found,),) = lying_device.target.fleet.query(
        f"SELECT count(*) FROM runs WHERE job_id = '{job}'"
    )
    return int(found)  # type: ignore[call-overload]


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_a_result_file_of_another_shape_fails_its_job(
    lying_device: LyingDevice, result: Any
) -> None:
    lying_device.hand_in("singlestream_performance", unchanged, {"program_result": result})
    assert lying_device.verdict() == ("FAILED", None)
    output = reason(lying_device)
    # A number of more than 64 bits is refused where the agent put the result.
    begins = ("result.json", "final record: Final is not JSON: key provenance.program_result")
    assert output.removeprefix("the device sent invalid records: ").startswith(begins)
    assert output.isprintable() and len(output) < 400
    assert runs_of(lying_device) == 0


@pytest.mark.parametrize("claim", FILES.values(), ids=FILES)
def test_a_file_that_must_not_be_named_fails_its_job(
    lying_device: LyingDevice, claim: Callable[[Claims], None]
) -> None:
    lying_device.hand_in("singlestream_performance", unchanged, claim_files=claim)
    assert lying_device.verdict() == ("FAILED", None)
    output = reason(lying_device)
    assert output.startswith("the device sent invalid records: ")
    assert output.isprintable() and len(output) < 400
    assert runs_of(lying_device) == 0


@pytest.mark.parametrize("claim", AT_THE_DOOR.values(), ids=AT_THE_DOOR)
def test_a_file_record_that_no_reader_could_use_is_not_stored(
    lying_device: LyingDevice, claim: Callable[[Claims], None]
) -> None:
    refused = outcome(
        lambda: lying_device.hand_in("singlestream_performance", unchanged, claim_files=claim)
    )
    assert refused in ("BAD_MESSAGE", "BLOB_MISSING")
    job = lying_device.attempt.job_id
    ((stored,),) = lying_device.target.fleet.query(
        f"SELECT count(*) FROM record WHERE job_id = '{job}'"
    )
    assert stored == 0


def test_the_files_of_a_valid_run_are_saved_where_they_were_asked_for(
    lying_device: LyingDevice, tmp_path: Path
) -> None:
    lying_device.hand_in(
        "singlestream_performance", unchanged, {"program_result": {"runtime": None}}
    )
    state, _ = lying_device.verdict()
    assert state in ("SUCCEEDED", "INVALID")
    job = lying_device.attempt.job_id
    ((run,),) = lying_device.target.fleet.query(f"SELECT run_id FROM runs WHERE job_id = '{job}'")
    # What lies there under such a name already is replaced, not followed.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "result.json").symlink_to(elsewhere)
    done = lying_device.target.fleet.run("results", "show", str(run), "--save", str(folder))
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "result.json").read_bytes())
    assert elsewhere.read_text() == "untouched"
    assert {path.name for path in folder.iterdir()} >= {"mlperf_log_detail.txt", "result.json"}


def results_document(lying_device: LyingDevice, values: dict[str, Any]) -> bytes:
    """Return a results document of this device with other values, signed by its own key."""
    attempt = lying_device.attempt
    document = {
        "format": 1,
        "device_id": attempt.device_id,
        "job_id": attempt.job_id,
        "epoch": attempt.epoch,
        "boot_id": "boot",
        "order_sha256": "0" * 64,
        "records": [[1, "event", "{}"]],
        "blobs": [],
        "refusal": "",
        **values,
    }
    data = json.dumps(document).encode()
    key = lying_device.member.pair.key
    return DeviceSignedDocument(data, signing_request(key), sign_document(key, data)).canonical()


IMPORTS: dict[str, dict[str, Any]] = {
    "half a letter": {"records": [[1, "event", '{"detail": "\\ud800"}']]},
    "no JSON": {"records": [[1, "event", "{"]]},
    "a record that is a list": {"records": [[1, "event", "[1]"]]},
    "a number without end": {"records": [[1, "telemetry", '{"rows": [[NaN]]}']]},
    "JSON that nests without end": {"records": [[1, "event", '{"a":' * 50 + "1" + "}" * 50]]},
    "an epoch of 2^70": {"epoch": 2**70},
    "a negative epoch": {"epoch": -1},
    "a job that moves the cursor": {"job_id": "\x1b[2J"},
    "a device of 10,000 letters": {"device_id": "d" * 10_000},
    "a record beyond all": {"records": [[2**70, "event", "{}"]]},
    "an unknown kind": {"records": [[1, "evil", "{}"]]},
}


@pytest.mark.parametrize("values", IMPORTS.values(), ids=IMPORTS)
def test_a_file_of_results_passes_the_same_checks(
    lying_device: LyingDevice, values: dict[str, Any]
) -> None:
    target = lying_device.target
    admin = target.stubs(target.admin)
    parts = [results_pb2.ImportRequest(data=results_document(lying_device, values))]
    refused = outcome(lambda: admin.results.Import(iter(parts), timeout=20))
    assert refused in ("BAD_MESSAGE", "FENCED", "FORBIDDEN"), refused
    job = lying_device.attempt.job_id
    ((stored,),) = target.fleet.query(f"SELECT count(*) FROM record WHERE job_id = '{job}'")
    assert stored == 0
    assert any(kind == refused for _, act, kind in target.refusals() if "Import" in act)
    # Every view can be read.
    for view in ("jobs", "attempts", "events", "telemetry", "runs"):
        target.fleet.query(f"SELECT * FROM {view}")


def test_a_valid_file_of_results_is_accepted(lying_device: LyingDevice) -> None:
    admin = lying_device.target.stubs(lying_device.target.admin)
    parts = [results_pb2.ImportRequest(data=results_document(lying_device, {}))]
    reply = admin.results.Import(iter(parts), timeout=20)
    assert (reply.records, reply.new_records) == (1, 1)
