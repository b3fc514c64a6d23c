"""The other side of the wire: a real gRPC server that keeps what agents send it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.records import parse_final, record_digest
from fleetmark_protos.channel import CHUNK_BYTES, server_options
from fleetmark_protos.status import abort
from fleetmark_protos.v1 import (
    blobs_pb2,
    blobs_pb2_grpc,
    common_pb2,
    results_pb2,
    results_pb2_grpc,
    session_pb2,
    session_pb2_grpc,
)
from tests.support.device_tls import server_credentials

S = common_pb2.AttemptState
CREDIT = 4 << 20


@dataclass
class AttemptRecords:
    """Records of one attempt."""

    records: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    conflicts: int = 0
    received: int = 0

    @property
    def through(self) -> int:
        seq = 0
        while seq + 1 in self.records:
            seq += 1
        return seq

    @property
    def final(self) -> Any:
        if self.records and self.records[max(self.records)][0] == "final":
            return parse_final(self.records[max(self.records)][1])
        return None


class FakeController(
    session_pb2_grpc.SessionServicer, blobs_pb2_grpc.BlobsServicer, results_pb2_grpc.ResultsServicer
):
    """Knobs are plain attributes; `wait_for` waits for whatever a test wants to see."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.boxes: dict[tuple[str, int], AttemptRecords] = {}
        self.hellos: list[Any] = []
        self.heartbeats: list[Any] = []
        self.reports: list[Any] = []
        self.changes: list[Any] = []
        self.byes: list[str] = []
        self.downloads: list[tuple[str, int]] = []
        self.uploads: list[str] = []
        self.offers: dict[tuple[str, int], bytes] = {}
        self.stops: dict[tuple[str, int], str] = {}
        self.heartbeat_s = 0.2
        self.lease_s = 10.0
        self.credit = CREDIT
        self.cut_after: list[int] = []
        self.append_error: FleetmarkError | None = None
        self.confirm = True
        self.port = 0
        self.online = asyncio.Event()
        self._change = asyncio.Condition()
        self._outgoing: asyncio.Queue[Any] | None = None
        self._server: grpc.aio.Server | None = None

    # --- life ---

    async def start(self) -> None:
        self._server = grpc.aio.server(options=server_options())
        session_pb2_grpc.add_SessionServicer_to_server(self, self._server)
        blobs_pb2_grpc.add_BlobsServicer_to_server(self, self._server)
        results_pb2_grpc.add_ResultsServicer_to_server(self, self._server)
        self.port = self._server.add_secure_port(f"127.0.0.1:{self.port}", server_credentials())
        await self._server.start()

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop(None)
        self.online.clear()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    # --- what tests do ---

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        self.blobs[sha256] = data
        return sha256

    def send(self, **body: Any) -> None:
        assert self._outgoing is not None
        self._outgoing.put_nowait(session_pb2.ControllerMessage(**body))

    def offer(self, order: Any) -> None:
        self.offers[order.job_id, order.epoch] = order.canonical()
        self.send(offer=self._offer((order.job_id, order.epoch)))

    def order_stop(self, key: tuple[str, int], reason: str = "cancelled") -> None:
        self.stops[key] = reason
        self.send(stop=session_pb2.Stop(attempt=self._ref(key), reason=reason))

    async def wait_for(self, seen: Callable[[], Any], timeout_s: float = 60.0) -> Any:
        async def wait() -> Any:
            async with self._change:
                while not (found := seen()):
                    await self._change.wait()
                return found

        return await asyncio.wait_for(wait(), timeout_s)

    def states(self, key: tuple[str, int]) -> list[str]:
        """Return the reported states of an attempt, in order, without repetitions."""
        found: list[str] = []
        for report in self.reports:
            name = S.Name(report.state).removeprefix("ATTEMPT_STATE_")
            if (report.attempt.job_id, report.attempt.epoch) == key and found[-1:] != [name]:
                found.append(name)
        return found

    def reason(self, key: tuple[str, int]) -> str:
        mine = [r for r in self.reports if (r.attempt.job_id, r.attempt.epoch) == key]
        return mine[-1].reason if mine else ""

    async def final(self, key: tuple[str, int], timeout_s: float = 60.0) -> Any:
        def seen() -> Any:
            assert self.states(key)[-1:] not in (["REFUSED"], ["ABORTED"]), self.reason(key)
            return key in self.boxes and self.boxes[key].final

        return await self.wait_for(seen, timeout_s)

    # --- session ---

    async def Connect(self, request_iterator: Any, context: Any) -> None:
        hello = (await context.read()).hello
        self.hellos.append(hello)
        outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self._outgoing = outgoing
        self.device_id, self.boot_id = hello.device_id, hello.boot_id
        directives = []
        for report in hello.attempts:
            await self._note(report)
            key = (report.attempt.job_id, report.attempt.epoch)
            stop = key in self.stops or (
                self.confirm and report.state in (S.ATTEMPT_STATE_REFUSED, S.ATTEMPT_STATE_ABORTED)
            )
            action = (
                session_pb2.AttemptDirective.ACTION_STOP
                if stop
                else session_pb2.AttemptDirective.ACTION_CONTINUE
            )
            directives.append(
                session_pb2.AttemptDirective(
                    attempt=report.attempt, action=action, reason=self.stops.get(key, "")
                )
            )
        welcome = session_pb2.Welcome(
            protocol=1,
            controller_version="test",
            controller_id="controller",
            heartbeat_idle_ns=int(self.heartbeat_s * 1e9),
            heartbeat_running_ns=int(self.heartbeat_s * 1e9),
            lease_ns=int(self.lease_s * 1e9),
            controller_time_unix_ns=time.time_ns(),
            directives=directives,
        )
        await context.write(session_pb2.ControllerMessage(welcome=welcome))
        self.online.set()
        await self._changed()
        writer = asyncio.ensure_future(self._write(context, outgoing))
        try:
            while (message := await context.read()) is not grpc.aio.EOF:
                await self._on_message(message, outgoing)
                if message.WhichOneof("body") == "bye":
                    break
        finally:
            writer.cancel()
            self.online.clear()

    async def _write(self, context: Any, outgoing: asyncio.Queue[Any]) -> None:
        while True:
            await context.write(await outgoing.get())

    async def _on_message(self, message: Any, outgoing: asyncio.Queue[Any]) -> None:
        body = message.WhichOneof("body")
        if body == "heartbeat":
            self.heartbeats.append(message.heartbeat)
            ack = session_pb2.HeartbeatAck(sequence=message.heartbeat.sequence)
            outgoing.put_nowait(session_pb2.ControllerMessage(heartbeat_ack=ack))
            for report in message.heartbeat.attempts:
                await self._note(report)
        elif body == "attempt_report":
            await self._note(message.attempt_report)
            given_up = (S.ATTEMPT_STATE_REFUSED, S.ATTEMPT_STATE_ABORTED)
            if self.confirm and message.attempt_report.state in given_up:
                stop = session_pb2.Stop(attempt=message.attempt_report.attempt, reason="recorded")
                outgoing.put_nowait(session_pb2.ControllerMessage(stop=stop))
        elif body == "capabilities_changed":
            self.changes.append(message.capabilities_changed.capabilities)
        elif body == "bye":
            self.byes.append(message.bye.reason)
        await self._changed()

    async def _note(self, report: Any) -> None:
        self.reports.append(report)
        await self._changed()

    async def _changed(self) -> None:
        async with self._change:
            self._change.notify_all()

    def _ref(self, key: tuple[str, int]) -> Any:
        return common_pb2.AttemptRef(
            device_id=self.device_id, job_id=key[0], epoch=key[1], boot_id=self.boot_id
        )

    def _offer(self, key: tuple[str, int]) -> Any:
        return session_pb2.Offer(attempt=self._ref(key), order=self.offers[key])

    # --- blobs ---

    async def Download(self, request: Any, context: Any) -> None:
        self.downloads.append((request.sha256, request.offset))
        data = self.blobs.get(request.sha256)
        if data is None:
            await abort(context, FleetmarkError(ErrorKind.BLOB_MISSING, "no such blob"))
        limit = self.cut_after.pop(0) if self.cut_after else len(data)
        sent = 0
        for start in range(request.offset, len(data), CHUNK_BYTES):
            if sent >= limit:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            chunk = data[start : start + CHUNK_BYTES]
            await context.write(blobs_pb2.BlobChunk(data=chunk))
            sent += len(chunk)

    async def Upload(self, request_iterator: Any, context: Any) -> Any:
        header = (await context.read()).header
        if header.sha256 in self.blobs:
            return blobs_pb2.UploadReply(existed=True)
        data = bytearray()
        while (message := await context.read()) is not grpc.aio.EOF:
            data += message.data
        assert hashlib.sha256(data).hexdigest() == header.sha256
        assert len(data) == header.size_bytes
        self.blobs[header.sha256] = bytes(data)
        self.uploads.append(header.sha256)
        return blobs_pb2.UploadReply(existed=False)

    # --- results ---

    async def Append(self, request: Any, context: Any) -> Any:
        if self.append_error is not None:
            await abort(context, self.append_error)
        key = (request.attempt.job_id, request.attempt.epoch)
        box = self.boxes.setdefault(key, AttemptRecords())
        for record in request.records:
            assert record.sha256 == record_digest(record.seq, record.kind, record.payload)
            entry = (record.kind, record.payload)
            box.received += 1
            if box.records.setdefault(record.seq, entry) != entry:
                box.conflicts += 1
        await self._changed()
        return results_pb2.AppendReply(through_seq=box.through, credit_bytes=self.credit)
