"""The table of attacks: each over real connections against a real controller process.

Each test checks the status that the attacker sees; that nothing was changed; the row in the audit
log if one is due; and that operators, devices and new devices are still served.
"""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import pytest

from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.certificates import Pair
from fleetmark_core.capabilities import Memory
from fleetmark_core.device_keys import make_key, signing_request
from fleetmark_core.digest import sha256_hex
from fleetmark_core.records import record_digest
from fleetmark_protos.token import parse_token
from fleetmark_protos.v1 import (
    admin_pb2,
    blobs_pb2,
    catalog_pb2,
    common_pb2,
    enrollment_pb2,
    fleet_pb2,
    jobs_pb2,
    results_pb2,
    session_pb2,
)
from tests.security.attacks.target import FACTS, Member, Target, outcome

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("attacks")]
LIST = fleet_pb2.ListDevicesRequest()
HANDSHAKE = "UNAVAILABLE"
S = session_pb2.AgentMessage


CONFIRM = catalog_pb2.ConfirmFilesRequest(
    component="model/resnet50",
    files=[catalog_pb2.CheckedFile(name="resnet50_v1.onnx", sha256="0" * 64, size_bytes=1)],
)


@dataclass(frozen=True)
class Attack:
    """What is tried, how it must end, and whether a row of the audit log is due."""

    what: str
    run: Callable[[Target], object]
    status: str
    audited: bool = True


# --- identity ---


def _list_as(target: Target, pair: Pair) -> object:
    return target.stubs(Member("", "", pair)).fleet.ListDevices(LIST, timeout=5)


def _foreign_ca(target: Target) -> object:
    ca, key = certificates.make_ca(time.time_ns()), make_key()
    from fleetmark_controller.identity.model import IdentityKind

    request = certificates.read_request(signing_request(key))
    signed, _ = certificates.sign(
        ca, request, IdentityKind.DEVICE, target.victim.member_id, time.time_ns(), 10**12
    )
    return _list_as(target, Pair(key, signed))


def _as_server(target: Target) -> object:
    return _list_as(target, certificates.make_server(target.authority, time.time_ns()))


def _unsigned(target: Target) -> object:
    ca = certificates.make_ca(time.time_ns())
    return _list_as(target, ca)


def _plain(target: Target) -> object:
    return target.plaintext().fleet.ListDevices(LIST, timeout=5)


def _without(target: Target) -> object:
    return target.stubs(None, target.fleet.address).fleet.ListDevices(LIST, timeout=5)


def _connect_as(target: Target, member: Member) -> object:
    return target.connect(member, S(hello=target.hello(member)))


def _unknown(target: Target) -> object:
    device = str(uuid.uuid4())
    return _connect_as(target, Member("x", device, target.forged(make_key(), device)))


def _victims_id(target: Target) -> object:
    victim = target.victim
    forged = target.forged(make_key(), victim.member_id)
    return _connect_as(target, Member("victim", victim.member_id, forged))


def _expired(target: Target) -> object:
    device = target.mallory
    return _list_as(target, target.forged(device.pair.key, device.member_id, -1000))


def _members(target: Target) -> dict[str, Member]:
    """Return a pending, a revoked and a removed device, made once."""
    made: dict[str, Member] = target.__dict__.setdefault("made", {})
    if not made:
        admin = target.stubs(target.admin).fleet
        made["pending"] = target.apply("pending")
        made["revoked"] = target.enroll("revoked", target.token(approve=True))
        admin.Revoke(fleet_pb2.RevokeRequest(name="revoked"))
        made["removed"] = target.enroll("removed", target.token(approve=True))
        admin.Remove(fleet_pb2.RemoveRequest(name="removed"))
    return made


def _tokens(target: Target) -> dict[str, str]:
    """Return a usable, a used-up, an expired and a revoked token, made once."""
    made: dict[str, str] = target.__dict__.setdefault("tokens", {})
    if not made:
        made["usable"] = target.token()
        made["used"] = target.token(approve=True)
        target.enroll("first", made["used"])
        made["expired"] = target.token(ttl_ns=1)
        made["revoked"] = target.token()
        token_id = parse_token(made["revoked"]).token_id
        target.stubs(target.admin).admin.RevokeToken(
            admin_pb2.RevokeTokenRequest(token_id=token_id)
        )
    return made


def _enroll(target: Target, token: str, **changes: object) -> object:
    request = target.application("new", token, make_key(), str(uuid.uuid4()))
    for name, value in changes.items():
        setattr(request, name, value)
    return target.stubs().enrollment.Enroll(request, timeout=10)


def _wrong_secret(target: Target) -> object:
    known = parse_token(_tokens(target)["usable"])
    return _enroll(target, dataclasses.replace(known, secret=bytes(20)).text())


def _made_up(target: Target) -> object:
    known = parse_token(_tokens(target)["usable"])
    return _enroll(target, dataclasses.replace(known, token_id="00" * 8).text())


def _broken_csr(target: Target) -> object:
    good = signing_request(make_key())
    return _enroll(target, _tokens(target)["usable"], csr=good[:-4] + bytes(4))


def _rsa_csr(target: Target) -> object:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    der = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    return _enroll(target, _tokens(target)["usable"], csr=der)


def _renew(target: Target, key: bytes) -> object:
    request = enrollment_pb2.RenewRequest(csr=signing_request(key))
    return target.stubs().enrollment.Renew(request, timeout=10)


def _operators_key(target: Target) -> object:
    key = target.operators["viewer"].pair.key
    return _enroll(target, _tokens(target)["usable"], csr=signing_request(key))


IDENTITY = [
    Attack("no TLS", _plain, HANDSHAKE, audited=False),
    Attack("no certificate on the port that needs one", _without, HANDSHAKE, audited=False),
    Attack("a certificate by itself", _unsigned, HANDSHAKE, audited=False),
    Attack("a certificate of another CA for a known device", _foreign_ca, HANDSHAKE, audited=False),
    Attack("the server's kind of certificate", _as_server, HANDSHAKE, audited=False),
    Attack("a certificate that has run out", _expired, HANDSHAKE, audited=False),
    Attack("a stolen CA: an unknown device", _unknown, "UNAUTHENTICATED"),
    Attack("a stolen CA: a known device with another key", _victims_id, "UNAUTHENTICATED"),
    Attack("a pending device", lambda t: _connect_as(t, _members(t)["pending"]), "PENDING"),
    Attack("a revoked device", lambda t: _connect_as(t, _members(t)["revoked"]), "REVOKED"),
    Attack("a removed device", lambda t: _connect_as(t, _members(t)["removed"]), "REVOKED"),
    Attack("a token that was made up", _made_up, "BAD_TOKEN"),
    Attack("a known token with a guessed secret", _wrong_secret, "BAD_TOKEN"),
    Attack("a used-up token", lambda t: _enroll(t, _tokens(t)["used"]), "BAD_TOKEN"),
    Attack("an expired token", lambda t: _enroll(t, _tokens(t)["expired"]), "BAD_TOKEN"),
    Attack("a revoked token", lambda t: _enroll(t, _tokens(t)["revoked"]), "BAD_TOKEN"),
    Attack("a text that is no token", lambda t: _enroll(t, "x" * 5000), "BAD_TOKEN"),
    Attack("no token", lambda t: _enroll(t, ""), "NOT_ENROLLED"),
    Attack("a signing request with a wrong signature", _broken_csr, "BAD_MESSAGE"),
    Attack("a signing request with an RSA key", _rsa_csr, "BAD_MESSAGE"),
    Attack(
        "a signing request of 5 KB",
        lambda t: _enroll(t, _tokens(t)["usable"], csr=b"0" * 5000),
        "BAD_MESSAGE",
    ),
    Attack(
        "a signing request of 1 MB",
        lambda t: _enroll(t, _tokens(t)["usable"], csr=b"0" * 1_000_000),
        "RESOURCE_EXHAUSTED",
        audited=False,
    ),
    Attack(
        "another device's id",
        lambda t: _enroll(t, _tokens(t)["usable"], device_id=t.victim.member_id),
        "FORBIDDEN",
    ),
    Attack(
        "a device id that is a path",
        lambda t: _enroll(t, _tokens(t)["usable"], device_id="../../identity/ca.pem"),
        "BAD_MESSAGE",
    ),
    Attack(
        "a name that moves the cursor",
        lambda t: _enroll(t, _tokens(t)["usable"], name="\x1b[2Jx"),
        "BAD_MESSAGE",
    ),
    Attack("an operator's key as a device's", _operators_key, "FORBIDDEN"),
    Attack("renewing an unknown key", lambda t: _renew(t, make_key()), "NOT_ENROLLED"),
    Attack(
        "renewing a revoked key", lambda t: _renew(t, _members(t)["revoked"].pair.key), "REVOKED"
    ),
    Attack(
        "renewing a pending key", lambda t: _renew(t, _members(t)["pending"].pair.key), "PENDING"
    ),
    Attack(
        "calling everything on the open port",
        lambda t: t.stubs().jobs.Submit(jobs_pb2.SubmitRequest(benchmark="toy")),
        "UNIMPLEMENTED",
        audited=False,
    ),
]

# --- authorization ---


def _operator(role: str, service: str, method: str, request: object) -> Callable[[Target], object]:
    def run(target: Target) -> object:
        stub = getattr(target.stubs(target.operators[role]), service)
        return getattr(stub, method)(request, timeout=10)

    return run


def _device(service: str, method: str, request: object) -> Callable[[Target], object]:
    def run(target: Target) -> object:
        stub = getattr(target.stubs(target.mallory), service)
        return getattr(stub, method)(request, timeout=10)

    return run


def _revoked_operator(target: Target) -> object:
    gone: dict[str, Member] = target.__dict__.setdefault("gone", {})
    if not gone:
        gone["it"] = target.operator("admin")
        name = admin_pb2.RevokeOperatorRequest(name=gone["it"].name)
        target.stubs(target.admin).admin.RevokeOperator(name)
    return target.stubs(gone["it"]).fleet.ListDevices(LIST, timeout=10)


def _download(sha256: str) -> blobs_pb2.DownloadRequest:
    return blobs_pb2.DownloadRequest(sha256=sha256)


def _upload(*data: bytes, device: str = "", sha256: str = "", size: int | None = None) -> object:
    whole = b"".join(data)
    header = blobs_pb2.UploadHeader(
        sha256=sha256 or sha256_hex(whole),
        size_bytes=len(whole) if size is None else size,
        device_id=device,
    )
    return iter(
        [
            blobs_pb2.UploadRequest(header=header),
            *(blobs_pb2.UploadRequest(data=part) for part in data),
        ]
    )


def _upload_as(member: str, **wanted: object) -> Callable[[Target], object]:
    def run(target: Target) -> object:
        who = target.mallory if member == "mallory" else target.operators[member]
        data = wanted.pop("data", (b"x" * 50,)) if False else wanted.get("data", (b"x" * 50,))
        rest = {key: value for key, value in wanted.items() if key != "data"}
        if rest.get("device") == "victim":
            rest["device"] = target.victim.member_id
        if rest.get("device") == "mallory":
            rest["device"] = target.mallory.member_id
        return target.stubs(who).blobs.Upload(_upload(*data, **rest), timeout=10)  # type: ignore[misc, arg-type]

    return run


def _confirm_other_bytes(target: Target) -> object:
    sha256 = target.stored(OTHER_BYTES)
    request = catalog_pb2.ConfirmFilesRequest()
    request.CopyFrom(CONFIRM)
    request.files[0].sha256, request.files[0].size_bytes = sha256, len(OTHER_BYTES)
    return target.stubs(target.operators["admin"]).catalog.ConfirmFiles(request, timeout=10)


def _confirm_changed_bytes(target: Target) -> object:
    """Change the stored file after it was uploaded, as a compromised disk would."""
    path = target.fleet.home / "blobs" / "sha256"
    sha256 = target.stored(b"confirmed bytes")
    (path / sha256[:2] / sha256).chmod(0o600)
    (path / sha256[:2] / sha256).write_bytes(b"changed bytes!!")
    request = catalog_pb2.ConfirmFilesRequest()
    request.CopyFrom(CONFIRM)
    request.files[0].sha256, request.files[0].size_bytes = sha256, 15
    try:
        return target.stubs(target.operators["admin"]).catalog.ConfirmFiles(request, timeout=10)
    finally:
        (path / sha256[:2] / sha256).unlink()


def _offer_other_bytes(target: Target) -> object:
    request = catalog_pb2.CheckFilesRequest(
        name="model/resnet50", uploaded=[target.stored(OTHER_BYTES)]
    )
    stub = target.stubs(target.operators["operator"]).catalog
    return list(stub.CheckFiles(request, timeout=10))


OTHER_BYTES = b"not the published model"
AUTHORISATION = [
    Attack("an agent lists the fleet", _device("fleet", "ListDevices", LIST), "FORBIDDEN"),
    Attack(
        "an agent submits jobs",
        _device("jobs", "Submit", jobs_pb2.SubmitRequest(benchmark="toy")),
        "FORBIDDEN",
    ),
    Attack(
        "an agent makes tokens",
        _device("admin", "CreateToken", admin_pb2.CreateTokenRequest()),
        "FORBIDDEN",
    ),
    Attack(
        "an agent approves a device",
        _device("fleet", "Approve", fleet_pb2.ApproveRequest(name="pending")),
        "FORBIDDEN",
    ),
    Attack(
        "an agent reads results",
        _device("results", "ListRows", results_pb2.ListRowsRequest(view="runs")),
        "FORBIDDEN",
    ),
    Attack(
        "a viewer submits jobs",
        _operator("viewer", "jobs", "Submit", jobs_pb2.SubmitRequest(benchmark="toy")),
        "FORBIDDEN",
    ),
    Attack(
        "a viewer cancels jobs",
        _operator("viewer", "jobs", "Cancel", jobs_pb2.CancelRequest(campaign_id="0")),
        "FORBIDDEN",
    ),
    Attack("a viewer uploads", _upload_as("viewer"), "FORBIDDEN"),
    Attack(
        "an operator makes tokens",
        _operator("operator", "admin", "CreateToken", admin_pb2.CreateTokenRequest(approve=True)),
        "FORBIDDEN",
    ),
    Attack(
        "an operator approves a device",
        _operator("operator", "fleet", "Approve", fleet_pb2.ApproveRequest(name="pending")),
        "FORBIDDEN",
    ),
    Attack(
        "an operator removes a device",
        _operator("operator", "fleet", "Remove", fleet_pb2.RemoveRequest(name="victim")),
        "FORBIDDEN",
    ),
    Attack(
        "an operator makes himself an administrator",
        _operator(
            "operator",
            "admin",
            "CreateOperator",
            admin_pb2.CreateOperatorRequest(name="me", role="admin"),
        ),
        "FORBIDDEN",
    ),
    Attack(
        "an operator adds a catalog",
        _operator(
            "operator", "catalog", "AddCatalog", catalog_pb2.AddCatalogRequest(location="/tmp")
        ),
        "FORBIDDEN",
    ),
    Attack(
        "an operator confirms a file of which only an MD5 is known",
        _operator("operator", "catalog", "ConfirmFiles", CONFIRM),
        "FORBIDDEN",
    ),
    Attack(
        "an agent confirms a file of which only an MD5 is known",
        lambda t: t.stubs(t.mallory).catalog.ConfirmFiles(CONFIRM, timeout=10),
        "FORBIDDEN",
    ),
    Attack(
        "an agent lets the controller check files",
        lambda t: list(
            t.stubs(t.mallory).catalog.CheckFiles(
                catalog_pb2.CheckFilesRequest(name="resnet50"), timeout=10
            )
        ),
        "FORBIDDEN",
    ),
    Attack(
        "an administrator confirms bytes that were never checked",
        _operator("admin", "catalog", "ConfirmFiles", CONFIRM),
        "BLOB_MISSING",
        audited=False,
    ),
    Attack(
        "an administrator confirms bytes with another MD5", _confirm_other_bytes, "DIGEST_MISMATCH"
    ),
    Attack(
        "bytes change between their check and their confirmation",
        _confirm_changed_bytes,
        "DIGEST_MISMATCH",
    ),
    Attack("an operator offers other bytes for a known MD5", _offer_other_bytes, "DIGEST_MISMATCH"),
    Attack(
        "an operator reads the audit log",
        _operator("operator", "admin", "ListAudit", admin_pb2.ListAuditRequest()),
        "FORBIDDEN",
    ),
    Attack("a revoked administrator", _revoked_operator, "REVOKED"),
    Attack(
        "an administrator plays agent",
        lambda t: t.stubs(t.operators["admin"]).session.Connect(
            iter([S(hello=t.hello(t.victim))]), timeout=10
        ),
        "FORBIDDEN",
    ),
    Attack(
        "an administrator hands in results",
        lambda t: t.stubs(t.operators["admin"]).results.Append(
            results_pb2.AppendRequest(attempt=t.attempt), timeout=10
        ),
        "FORBIDDEN",
    ),
    Attack(
        "a method that does not exist",
        lambda t: t.stubs(t.mallory).channel.unary_unary("/fleetmark.v1.Admin/Backdoor")(b""),
        "UNIMPLEMENTED",
        audited=False,
    ),
    Attack(
        "an agent connects as another",
        lambda t: t.connect(t.mallory, S(hello=t.hello(t.victim))),
        "FORBIDDEN",
    ),
    Attack(
        "an agent hands in another's results",
        lambda t: t.stubs(t.mallory).results.Append(
            results_pb2.AppendRequest(attempt=t.attempt), timeout=10
        ),
        "FORBIDDEN",
    ),
    Attack(
        "an agent reads another's lock",
        lambda t: t.stubs(t.mallory).blobs.Download(_download(t.order["lock_sha256"]), timeout=10),
        "FORBIDDEN",
    ),
    Attack(
        "an agent reads a file by its path",
        lambda t: t.stubs(t.mallory).blobs.Download(_download("../identity/ca.pem"), timeout=10),
        "FORBIDDEN",
    ),
    Attack(
        "an agent with work reads what its order does not name",
        lambda t: t.stubs(t.victim).blobs.Download(_download("ab" * 32), timeout=10),
        "FORBIDDEN",
    ),
    Attack(
        "a viewer reads a file by its path",
        lambda t: t.stubs(t.operators["viewer"]).blobs.Download(_download("../identity/ca.pem")),
        "BLOB_MISSING",
        audited=False,
    ),
    Attack("an agent uploads as another", _upload_as("mallory", device="victim"), "FORBIDDEN"),
    Attack(
        "an agent without work fills the disk", _upload_as("mallory", device="mallory"), "FORBIDDEN"
    ),
]

# --- results ---


def _hello(**changes: object) -> Callable[[Target], object]:
    return lambda t: t.connect(t.mallory, S(hello=t.hello(t.mallory, **changes)))  # type: ignore[arg-type]


def _after_hello(message: S) -> Callable[[Target], object]:
    """Send messages as Mallory, registered once; the victim's own stream stays."""

    def run(target: Target) -> object:
        return target.connect(target.mallory, S(hello=target.hello(target.mallory)), message)

    return run


def _append(*records: results_pb2.Record, **changes: object) -> Callable[[Target], object]:
    def run(target: Target) -> object:
        ref = common_pb2.AttemptRef()
        ref.CopyFrom(target.attempt)
        for name, value in changes.items():
            setattr(ref, name, value)
        return target.stubs(target.victim).results.Append(
            results_pb2.AppendRequest(attempt=ref, records=records), timeout=10
        )

    return run


def _record(seq: int, kind: str, payload: bytes, sha256: str = "") -> results_pb2.Record:
    return results_pb2.Record(
        seq=seq, kind=kind, payload=payload, sha256=sha256 or record_digest(seq, kind, payload)
    )


def _report(target: Target) -> S:
    report = session_pb2.AttemptReport(
        attempt=target.attempt, state=common_pb2.ATTEMPT_STATE_ABORTED, reason="lies"
    )
    return S(attempt_report=report)


ABSURD_FACTS = dataclasses.replace(FACTS, memory=Memory(1 << 62, 0))
MANY_TAGS = dataclasses.replace(FACTS, tags=tuple(f"t{n}" for n in range(5000)))

RESULTS = [
    Attack(
        "a record with another digest", _append(_record(1, "event", b"{}", "00")), "BAD_MESSAGE"
    ),
    Attack("a record of an unknown kind", _append(_record(1, "shell", b"{}")), "BAD_MESSAGE"),
    Attack("a record number of zero", _append(_record(0, "event", b"{}")), "BAD_MESSAGE"),
    Attack("a record number without end", _append(_record(1 << 60, "event", b"{}")), "BAD_MESSAGE"),
    Attack("a record of 300 KiB", _append(_record(1, "event", b"x" * 307_200)), "BAD_MESSAGE"),
    Attack(
        "a message of 5 MB",
        _append(*[_record(n, "event", b"x" * 200_000) for n in range(1, 26)]),
        "RESOURCE_EXHAUSTED",
        audited=False,
    ),
    Attack("results of an epoch that never was", _append(epoch=1 << 40), "FENCED"),
    Attack("an epoch beyond all numbers", _append(epoch=(1 << 64) - 1), "BAD_MESSAGE"),
    Attack("a job id that is a path", _append(job_id="../../x"), "BAD_MESSAGE"),
    Attack("a job id without end", _append(job_id="x" * 10_000), "BAD_MESSAGE"),
    Attack(
        "a file that was never uploaded",
        _append(_record(1, "file", json.dumps({"sha256": "ab" * 32, "name": "x"}).encode())),
        "BLOB_MISSING",
        audited=False,
    ),
    Attack(
        "a file record that is no JSON at all",
        _append(_record(1, "file", b"\xff{" * 9)),
        "BAD_MESSAGE",
    ),
    Attack(
        "a file by its path",
        _append(_record(1, "file", json.dumps({"sha256": "../../x"}).encode())),
        "BLOB_MISSING",
        audited=False,
    ),
    Attack(
        "bytes that are not UTF-8",
        lambda t: t.stubs(t.victim).channel.unary_unary("/fleetmark.v1.Results/Append")(
            b"\x0a\x04\x0a\x02\xff\xfe", timeout=10
        ),
        "BAD_MESSAGE",
    ),
    Attack(
        "bytes that are no message",
        lambda t: t.stubs(t.victim).channel.unary_unary("/fleetmark.v1.Results/Append")(
            b"\xff" * 100, timeout=10
        ),
        "BAD_MESSAGE",
    ),
    Attack(
        "an upload that is not what its digest says",
        _upload_as("operator", sha256="ab" * 32),
        "DIGEST_MISMATCH",
    ),
    Attack("an upload longer than announced", _upload_as("operator", size=10), "BAD_MESSAGE"),
    Attack("an upload without end", _upload_as("operator", size=1 << 60), "BAD_MESSAGE"),
    Attack("an upload to a path", _upload_as("operator", sha256="../../../tmp/x"), "BAD_MESSAGE"),
    Attack(
        "a hello with 5,000 labels",
        _hello(labels={f"l{n}": "" for n in range(5000)}),
        "BAD_MESSAGE",
    ),
    Attack("a label with a line's end", _hello(labels={"a": "x\nroot"}), "BAD_MESSAGE"),
    Attack("an absurd memory", _hello(facts=ABSURD_FACTS), "BAD_MESSAGE"),
    Attack("5,000 tags", _hello(facts=MANY_TAGS), "BAD_MESSAGE"),
    Attack("a name of 101 letters", _hello(name="x" * 101), "BAD_MESSAGE"),
    Attack("all epochs used up at once", _hello(highest_epoch=(1 << 53) - 1), "BAD_MESSAGE"),
    Attack("an epoch of 64 bits", _hello(highest_epoch=(1 << 64) - 1), "BAD_MESSAGE"),
    Attack("a protocol from the future", _hello(protocol=99), "PROTOCOL", audited=False),
    Attack(
        "a hello with another's attempt",
        lambda t: t.connect(
            t.mallory,
            S(hello=t.hello(t.mallory, attempts=[_report(t).attempt_report])),
        ),
        "BAD_MESSAGE",
    ),
    Attack(
        "a stream without a hello",
        lambda t: t.connect(t.mallory, S(heartbeat=session_pb2.Heartbeat())),
        "PROTOCOL",
        audited=False,
    ),
]

TABLE = [*IDENTITY, *AUTHORISATION, *RESULTS]


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= 80
    assert len({attack.what for attack in TABLE}) == len(TABLE)


@pytest.mark.parametrize("attack", TABLE, ids=lambda attack: attack.what)
def test_an_attack(target: Target, attack: Attack) -> None:
    _members(target)
    _tokens(target)
    if attack.run is _revoked_operator:
        outcome(lambda: attack.run(target))
    before, logged = target.snapshot(), len(target.refusals())
    assert outcome(lambda: attack.run(target)) == attack.status
    rows = target.refusals()[logged:]
    assert bool(rows) == attack.audited, rows
    if attack.audited:
        assert rows[-1][2] == attack.status
    assert target.snapshot() == before, "it changed something"
    assert target.answers()


def test_a_report_of_anothers_attempt_changes_nothing_of_it(target: Target) -> None:
    """Mallory's own hello registers her; the victim's attempt goes on."""
    assert (
        outcome(
            lambda: target.connect(
                target.mallory, S(hello=target.hello(target.mallory)), _report(target)
            )
        )
        == "FENCED"
    )
    (state,) = target.fleet.query("SELECT state FROM attempts")
    assert state == ("OFFERED",)
    assert target.refusals()[-1][2] == "FENCED"


def test_the_audit_log_is_sound_after_all_that(target: Target) -> None:
    done = target.fleet.run("audit", "verify", "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["rows"] > 40


def test_statuses_of_grpc_are_of_the_catalog() -> None:
    assert hasattr(grpc.StatusCode, HANDSHAKE)
