"""Conversion of messages to and from the wire; the agent's only module that uses protobuf."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio

from fleetmark_agent.net.transport import TransportError
from fleetmark_agent.session import messages as m
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.errors import ErrorKind
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.regular_file import open_regular
from fleetmark_core.serde import to_plain
from fleetmark_protos import PROTOCOL_VERSION
from fleetmark_protos.channel import CHUNK_BYTES
from fleetmark_protos.status import from_rpc_error
from fleetmark_protos.v1 import capabilities_pb2, common_pb2, session_pb2, session_pb2_grpc

if TYPE_CHECKING:
    from fleetmark_protos.v1 import blobs_pb2

_TEMPORARY = {
    ErrorKind.UNREACHABLE,
    ErrorKind.BACK_PRESSURE,
    ErrorKind.DISK_FULL,
    ErrorKind.STORE_UNUSABLE,
    ErrorKind.INTERNAL,
    ErrorKind.UNAUTHENTICATED,  # until the certificate is renewed
}
_CAUSES = {
    cause: session_pb2.FailureCause.Value(f"FAILURE_CAUSE_{cause.name}") for cause in FailureCause
}


class Stubs:
    """The calls of an agent. Modules that only jobs need are imported on first use."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._session: Any = session_pb2_grpc.SessionStub(channel)

    def connect(self) -> Any:
        """Open the session stream."""
        return self._session.Connect()

    def download(self, sha256: str, offset: int, attempt: m.AttemptRef) -> Any:
        """Start a download; its result is a stream of chunks."""
        from fleetmark_protos.v1 import blobs_pb2

        return self._blobs().Download(
            blobs_pb2.DownloadRequest(sha256=sha256, offset=offset, attempt=_ref(attempt))
        )

    def upload(self) -> Any:
        """Start an upload, which takes a stream of requests; see `upload_requests`."""
        return self._blobs().Upload()

    async def append(self, message: m.Append, timeout_s: float) -> m.Appended:
        """Upload records of one attempt."""
        from fleetmark_protos.v1 import results_pb2, results_pb2_grpc

        request = results_pb2.AppendRequest(
            attempt=_ref(message.attempt),
            records=[
                results_pb2.Record(
                    seq=record.seq, kind=record.kind, payload=record.payload, sha256=record.sha256
                )
                for record in message.records
            ],
        )
        stub: Any = results_pb2_grpc.ResultsStub(self._channel)
        reply = await stub.Append(request, timeout=timeout_s)
        return m.Appended(reply.through_seq, reply.credit_bytes)

    def _blobs(self) -> Any:
        from fleetmark_protos.v1 import blobs_pb2_grpc

        stub: Any = blobs_pb2_grpc.BlobsStub(self._channel)
        return stub


@contextmanager
def errors(address: str) -> Iterator[None]:
    """Convert gRPC errors to `TransportError` in the block."""
    try:
        yield
    except grpc.RpcError as error:
        meant = from_rpc_error(error, address)
        raise TransportError(
            str(meant), temporary=meant.kind in _TEMPORARY, kind=meant.kind
        ) from error
    except asyncio.TimeoutError as error:
        text = f"the controller at {address} did not answer in time"
        raise TransportError(text, temporary=True, kind=ErrorKind.UNREACHABLE) from error
    except asyncio.InvalidStateError as error:
        raise TransportError(f"the call to {address} has ended", temporary=True) from error


def is_end(answer: object) -> bool:
    """Return whether the result of a read marks the end of the stream."""
    return answer is grpc.aio.EOF


async def check_status(call: Any) -> None:
    """Raise the status of a finished call if it is not OK."""
    code = await call.code()
    if code is not grpc.StatusCode.OK:
        raise grpc.aio.AioRpcError(
            code,
            await call.initial_metadata(),
            await call.trailing_metadata(),
            await call.details(),
        )


def chunk_data(chunk: object) -> bytes | None:
    """Return the bytes of the chunk; None at the end of the stream."""
    return None if is_end(chunk) else bytes(cast("blobs_pb2.BlobChunk", chunk).data)


def upload_requests(path: Path, sha256: str, size_bytes: int, device_id: str) -> Iterator[object]:
    """Yield the header and the chunks of a file."""
    from fleetmark_protos.v1 import blobs_pb2

    header = blobs_pb2.UploadHeader(sha256=sha256, size_bytes=size_bytes, device_id=device_id)
    yield blobs_pb2.UploadRequest(header=header)
    with open_regular(path) as file:
        while data := file.read(CHUNK_BYTES):
            yield blobs_pb2.UploadRequest(data=data)


def to_wire(message: m.AgentMessage) -> session_pb2.AgentMessage:
    """Convert a message of the agent to its wire format."""
    if isinstance(message, m.Hello):
        return _hello(message)
    if isinstance(message, m.Heartbeat):
        heartbeat = session_pb2.Heartbeat(
            sequence=message.sequence,
            idle=message.idle,
            attempts=[_report(report) for report in message.attempts],
            temperature_c=message.temperature_c,
        )
        return session_pb2.AgentMessage(heartbeat=heartbeat)
    if isinstance(message, m.CapabilitiesChanged):
        changed = session_pb2.CapabilitiesChanged(capabilities=_capabilities(message.capabilities))
        return session_pb2.AgentMessage(capabilities_changed=changed)
    if isinstance(message, m.AttemptReport):
        return session_pb2.AgentMessage(attempt_report=_report(message))
    if isinstance(message, m.LogLines):
        chunk = common_pb2.LogChunk(
            attempt=_ref(message.attempt),
            stream=message.stream,
            offset=message.offset,
            data=message.data,
            end=message.end,
        )
        return session_pb2.AgentMessage(log_chunk=chunk)
    bye = session_pb2.Bye(reason=message.reason, retry_after_ns=_ns(message.retry_after_s))
    return session_pb2.AgentMessage(bye=bye)


def from_wire(message: session_pb2.ControllerMessage) -> m.ControllerMessage | None:
    """Convert a message of the controller; return None if this version does not know it."""
    body = message.WhichOneof("body")
    if body == "welcome":
        welcome = message.welcome
        return m.Welcome(
            protocol=welcome.protocol,
            controller_version=welcome.controller_version,
            controller_id=welcome.controller_id,
            heartbeat_idle_s=welcome.heartbeat_idle_ns / 1e9,
            heartbeat_running_s=welcome.heartbeat_running_ns / 1e9,
            lease_s=welcome.lease_ns / 1e9,
            controller_time_unix_ns=welcome.controller_time_unix_ns,
            features=tuple(welcome.features),
            catalog_sha256=welcome.catalog_sha256,
            verdicts=tuple(
                m.AttemptDirective(
                    _from_ref(directive.attempt),
                    directive.action == session_pb2.AttemptDirective.ACTION_STOP,
                    directive.reason,
                )
                for directive in welcome.directives
            ),
        )
    if body == "heartbeat_ack":
        ack = message.heartbeat_ack
        return m.HeartbeatAck(ack.sequence, ack.controller_time_unix_ns)
    if body == "offer":
        offer = message.offer
        return m.Offer(_from_ref(offer.attempt), offer.signed_order or offer.order)
    if body == "stop":
        return m.Stop(_from_ref(message.stop.attempt), message.stop.reason)
    if body == "set_log_tail":
        tail = message.set_log_tail
        return m.Tail(_from_ref(tail.attempt), tail.enabled)
    if body == "bye":
        return m.Bye(message.bye.reason, message.bye.retry_after_ns / 1e9)
    return None


def _hello(hello: m.Hello) -> session_pb2.AgentMessage:
    # Plain values, because protobuf copies messages that are put into other messages.
    fields: Any = {
        "protocol": PROTOCOL_VERSION,
        "agent_version": hello.agent_version,
        "features": hello.features,
        "device_id": hello.device_id,
        "name": hello.name,
        "boot_id": hello.boot_id,
        "labels": hello.labels,
        "capabilities": to_plain(hello.capabilities),
        "highest_epoch": hello.highest_epoch,
        "attempts": [_report(report) for report in hello.attempts],
        "idle": hello.idle,
        "lockfiles": hello.locks,
    }
    return session_pb2.AgentMessage(hello=fields)


def _capabilities(capabilities: Capabilities) -> capabilities_pb2.Capabilities:
    # The message has the same fields as the dataclass; None leaves a field unset. The JSON mapping
    # of protobuf would do the same, but would stay in memory for this one message.
    return capabilities_pb2.Capabilities(**to_plain(capabilities))


def _report(report: m.AttemptReport) -> session_pb2.AttemptReport:
    progress = report.progress
    return session_pb2.AttemptReport(
        attempt=_ref(report.attempt),
        state=common_pb2.AttemptState.Value(f"ATTEMPT_STATE_{report.state.value}"),
        progress=common_pb2.Progress(phase=progress.phase, done=progress.done, total=progress.total)
        if progress
        else None,
        reason=report.reason,
        retryable=report.retryable,
        signed_order=report.signed_order,
        cause=_CAUSES[report.cause] if report.cause else session_pb2.FAILURE_CAUSE_UNSPECIFIED,
    )


def _ref(ref: m.AttemptRef) -> common_pb2.AttemptRef:
    return common_pb2.AttemptRef(
        device_id=ref.device_id, job_id=ref.job_id, epoch=ref.epoch, boot_id=ref.boot_id
    )


def _from_ref(ref: common_pb2.AttemptRef) -> m.AttemptRef:
    return m.AttemptRef(ref.device_id, ref.job_id, ref.epoch, ref.boot_id)


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
