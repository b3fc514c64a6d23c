"""The attacked system: a controller process with devices and operators, over real TLS."""

from __future__ import annotations

import hashlib
import json
import queue
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc

from fleetmark_controller.api.capability_serde import capabilities_to
from fleetmark_controller.home.credential_files import read_credentials
from fleetmark_controller.identity import certificates
from fleetmark_controller.identity.certificates import Pair
from fleetmark_core.capabilities import Board, Capabilities, Cpu, Interpreter, Memory, Os, Storage
from fleetmark_core.device_keys import make_key, signing_request
from fleetmark_core.digest import sha256_hex
from fleetmark_protos.channel import client_options
from fleetmark_protos.status import DETAIL_KEY, from_rpc_error
from fleetmark_protos.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    blobs_pb2,
    blobs_pb2_grpc,
    catalog_pb2_grpc,
    common_pb2,
    enrollment_pb2,
    enrollment_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    jobs_pb2_grpc,
    results_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)
from tests.support import noop_benchmark
from tests.support.processes import Fleet, until

PATIENCE_S = 20.0
FACTS = Capabilities(
    Os("linux", "Debian GNU/Linux", "12", "6.1", "glibc", "2.36"),
    "x86_64",
    Board(),
    Cpu(2, 2),
    Memory(1 << 33, 0),
    Storage(1 << 36, 1 << 35),
    interpreters=(
        Interpreter(
            "/usr/bin/python3",
            "3.11.2",
            "cpython",
            ("cp311",),
            ("manylinux2014_x86_64", "linux_x86_64"),
        ),
    ),
    tags=("linux", "x86_64"),
)


@dataclass(frozen=True)
class Member:
    """A device or an operator with a certificate."""

    name: str
    member_id: str
    pair: Pair


class Stubs:
    """Every service on one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.admin: Any = admin_pb2_grpc.AdminStub(channel)
        self.blobs: Any = blobs_pb2_grpc.BlobsStub(channel)
        self.catalog: Any = catalog_pb2_grpc.CatalogStub(channel)
        self.enrollment: Any = enrollment_pb2_grpc.EnrollmentStub(channel)
        self.fleet: Any = fleet_pb2_grpc.FleetStub(channel)
        self.jobs: Any = jobs_pb2_grpc.JobsStub(channel)
        self.results: Any = results_pb2_grpc.ResultsStub(channel)
        self.session: Any = session_pb2_grpc.SessionStub(channel)


class Stream:
    """An agent's session stream that is kept open."""

    def __init__(self, stubs: Stubs, hello: session_pb2.Hello) -> None:
        self._output: queue.Queue[Any] = queue.Queue()
        self.send(hello=hello)
        self.heard = stubs.session.Connect(iter(self._output.get, None), timeout=3600)
        self.welcome = next(self.heard).welcome

    def send(self, **body: Any) -> None:
        self._output.put(session_pb2.AgentMessage(**body))

    def end(self) -> None:
        self._output.put(None)
        self.heard.cancel()


class Target:
    """The controller, a victim with a live attempt, and those who attack."""

    daily_bytes = 50_000_000

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._open: list[grpc.Channel] = []
        own = read_credentials(Path(fleet.credentials))
        self.ca = own.ca.encode()
        self.admin = Member("local", "", Pair(own.key.encode(), own.certificate.encode()))
        whole = (fleet.home / "identity" / "ca.pem").read_bytes()
        key, mark, certificate = whole.partition(b"-----BEGIN CERTIFICATE-----")
        self.authority = Pair(key, mark + certificate)
        host, _, port = fleet.address.rpartition(":")
        self.entry = f"{host}:{int(port) + 1}"
        self.operators = {role: self.operator(role) for role in ("viewer", "operator", "admin")}
        self.mallory = self.enroll("mallory", self.token(approve=True))
        self.victim = self.enroll("victim", self.token(approve=True))
        self.stream = Stream(self.stubs(self.victim), self.hello(self.victim))
        self.attempt, self.order = self._give_work()

    # --- connections ---

    def stubs(self, member: Member | None = None, address: str = "") -> Stubs:
        """Return stubs as this member, or without a certificate, on the port for such callers."""
        if member is None:
            shown = grpc.ssl_channel_credentials(self.ca)
            return self._stubs(address or self.entry, shown)
        shown = grpc.ssl_channel_credentials(self.ca, member.pair.key, member.pair.certificate)
        return self._stubs(address or self.fleet.address, shown)

    def _stubs(self, address: str, credentials: grpc.ChannelCredentials | None) -> Stubs:
        # gRPC shares connections between channels with equal options: attackers must not.
        options = [*client_options(), ("grpc.use_local_subchannel_pool", 1)]
        if credentials is None:
            channel = grpc.insecure_channel(address, options=options)
        else:
            channel = grpc.secure_channel(address, credentials, options=options)
        self._open.append(channel)
        return Stubs(channel)

    def plaintext(self) -> Stubs:
        return self._stubs(self.fleet.address, None)

    def close(self) -> None:
        self.stream.end()
        for channel in self._open:
            channel.close()

    # --- members ---

    def token(self, **wanted: Any) -> str:
        request = admin_pb2.CreateTokenRequest(**wanted)
        return str(self.stubs(self.admin).admin.CreateToken(request).token)

    def operator(self, role: str) -> Member:
        key = make_key()
        request = admin_pb2.CreateOperatorRequest(
            name=f"{role}-{uuid.uuid4().hex[:6]}", role=role, csr=signing_request(key)
        )
        reply = self.stubs(self.admin).admin.CreateOperator(request)
        return Member(request.name, "", Pair(key, reply.certificate))

    def enroll(self, name: str, token: str, key: bytes | None = None) -> Member:
        """Enroll an active device."""
        key, device_id = key or make_key(), str(uuid.uuid4())
        for event in self.stubs().enrollment.Enroll(self.application(name, token, key, device_id)):
            granted = event.certificate
        return Member(granted.name, device_id, Pair(key, granted.certificate))

    def apply(self, name: str) -> Member:
        """Return a pending device with a certificate that it should not have."""
        key, device_id = make_key(), str(uuid.uuid4())
        request = self.application(name, self.token(), key, device_id)
        call = self.stubs().enrollment.Enroll(request)
        assert next(call).WhichOneof("body") == "pending"
        call.cancel()
        return Member(name, device_id, self.forged(key, device_id))

    def forged(self, key: bytes, device_id: str, life_s: float = 1000.0) -> Pair:
        """Return a certificate by the controller's own CA, as with a stolen key."""
        from fleetmark_controller.identity.model import IdentityKind

        request = certificates.read_request(signing_request(key))
        now_ns = time.time_ns() - int(max(0.0, -life_s) * 2e9)
        signed, _ = certificates.sign(
            self.authority, request, IdentityKind.DEVICE, device_id, now_ns, int(abs(life_s) * 1e9)
        )
        return Pair(key, signed)

    def application(
        self, name: str, token: str, key: bytes, device_id: str
    ) -> enrollment_pb2.EnrollRequest:
        return enrollment_pb2.EnrollRequest(
            token=token, csr=signing_request(key), device_id=device_id, name=name
        )

    def hello(self, member: Member, facts: Capabilities = FACTS, **changes: Any) -> Any:
        values: dict[str, Any] = {
            "protocol": 1,
            "agent_version": "0",
            "device_id": member.member_id,
            "name": member.name,
            "boot_id": "b",
            "capabilities": capabilities_to(facts),
            "idle": True,
        }
        return session_pb2.Hello(**{**values, **changes})

    def connect(self, member: Member, *messages: session_pb2.AgentMessage) -> None:
        """Send these messages as this member; receive until the controller ends the stream."""
        for _ in self.stubs(member).session.Connect(iter(messages), timeout=PATIENCE_S):
            pass

    def _give_work(self) -> tuple[common_pb2.AttemptRef, dict[str, Any]]:
        done = self.fleet.run("schedule", "toy", "--fleet", "name=victim", "--param", "marks=/tmp")
        assert done.returncode == 0, done.stderr
        offer = next(message for message in self.stream.heard if message.HasField("offer")).offer
        return offer.attempt, json.loads(offer.order)

    def stored(self, data: bytes) -> str:
        """Return the SHA-256 of `data` after an operator has uploaded it."""
        header = blobs_pb2.UploadHeader(sha256=sha256_hex(data), size_bytes=len(data))
        parts = [blobs_pb2.UploadRequest(header=header), blobs_pb2.UploadRequest(data=data)]
        self.stubs(self.operators["operator"]).blobs.Upload(iter(parts), timeout=PATIENCE_S)
        return sha256_hex(data)

    # --- what must hold afterwards ---

    def snapshot(self) -> dict[str, str]:
        """Return a digest of each table's rows, except the audit log, and the confirmed files."""
        uri = f"{(self.fleet.home / 'results.db').as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=10)
        try:
            names = [
                str(row[0])
                for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            ]
            digests = {}
            for name in names:
                where = " WHERE key <> 'audit_head'" if name == "key_value" else ""
                rows = connection.execute(f"SELECT * FROM {name}{where}").fetchall()
                digests[name] = hashlib.sha256(repr(sorted(map(repr, rows))).encode()).hexdigest()
            del digests["audit"]
            confirmed = self.fleet.home / "file-confirmations.json"
            digests[confirmed.name] = confirmed.read_text() if confirmed.exists() else ""
            return digests
        finally:
            connection.close()

    def refusals(self) -> list[tuple[str, str, str]]:
        """Return the rows of the audit log about refusals: actor, method, kind."""
        rows = self.fleet.query(
            "SELECT actor, action, json_extract(detail, '$.kind') FROM audit"
            " WHERE outcome = 'refused' ORDER BY seq"
        )
        return [(str(who), str(act), str(kind)) for who, act, kind in rows]

    def answers(self) -> bool:
        """Return whether both ports serve authorized callers."""
        health = self.stubs().enrollment.Health(enrollment_pb2.HealthRequest(), timeout=PATIENCE_S)
        listed = self.stubs(self.admin).fleet.ListDevices(
            fleet_pb2.ListDevicesRequest(), timeout=PATIENCE_S
        )
        self.stream.send(heartbeat=session_pb2.Heartbeat(sequence=7, idle=False))
        acknowledged = next(m for m in self.stream.heard if m.HasField("heartbeat_ack"))
        return bool(
            health.controller_time_unix_ns
            and any(device.name == "victim" for device in listed.devices)
            and acknowledged.heartbeat_ack.sequence == 7
        )


def outcome(attack: Callable[[], object]) -> str:
    """Return how a call ended: the error's kind, gRPC's own status, or OK."""
    try:
        found = attack()
        if isinstance(found, Iterator) and not isinstance(found, (str, bytes)):
            for _ in found:
                pass
    except grpc.RpcError as error:
        metadata = error.trailing_metadata() or ()
        if any(key == DETAIL_KEY for key, _ in metadata):
            return from_rpc_error(error, "").kind.name
        return str(error.code().name)
    return "OK"


def start(folder: Path, config: str, prefix: Sequence[str] = ()) -> Fleet:
    """Start a controller with the small benchmark; `prefix` comes before its command line."""
    fleet = Fleet(folder)
    # Long: the victim says nothing while attackers have their turn.
    (fleet.home / "config.toml").write_text(f"lease_s = 600.0\n{config}")
    catalog = str(noop_benchmark.make_catalog(folder / "catalog"))
    fleet.start_controller("--catalog", catalog, prefix=prefix)
    return fleet


__all__ = ["FACTS", "Member", "Pair", "Stream", "Stubs", "Target", "outcome", "replace", "until"]
