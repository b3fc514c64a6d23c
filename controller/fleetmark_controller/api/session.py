"""Service Session: the stream that each agent keeps open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from fleetmark_catalog.resolve.variations import variations_of
from fleetmark_controller import __version__
from fleetmark_controller.api import auth, error_handling, serde, validation
from fleetmark_controller.api.blobs import quota_exceeded_error
from fleetmark_controller.api.capability_serde import capabilities_from
from fleetmark_controller.api.log_throttle import BurstLogger
from fleetmark_controller.api.progress_filter import ProgressFilter
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.engine.job_watch import JobEvent
from fleetmark_controller.lifecycle.states import AttemptState
from fleetmark_controller.operations import sessions
from fleetmark_controller.operations.effects import OfferEffect, StopEffect, TailEffect
from fleetmark_controller.operations.recovery import OrderVerifier
from fleetmark_controller.signing.order_signer import OrderSigner
from fleetmark_core.clock import NS_PER_S, now_unix_ns
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_core.order import SIGNED, without_release
from fleetmark_protos import PROTOCOL_VERSION
from fleetmark_protos.v1 import common_pb2, session_pb2, session_pb2_grpc

log = get_logger("fleetmark.session")
_HELLO_S = 30.0
_FEATURES = ("spool.v1", "job-contract.v1", SIGNED)


class SessionService(session_pb2_grpc.SessionServicer):
    """Service that converts messages on streams into operations."""

    def __init__(self, engine: Engine) -> None:
        """Serve one engine."""
        self._engine = engine
        self._open: set[asyncio.Queue[session_pb2.ControllerMessage | None]] = set()
        self._ending = False
        self._coming, self._going = BurstLogger(log, "connected"), BurstLogger(log, "disconnected")
        self._order_verifier = OrderVerifier(
            lambda envelope: engine.signer.verify_own(envelope) if engine.signer else None,
            lambda lock: variations_of(engine.catalog, lock),
        )

    def send_goodbye(self, reason: str) -> None:
        """End every stream with a bye, so that agents know that the link was not lost."""
        self._ending = True
        for outbox in self._open:
            outbox.put_nowait(session_pb2.ControllerMessage(bye=session_pb2.Bye(reason=reason)))
            outbox.put_nowait(None)

    @error_handling.streaming
    async def Connect(
        self,
        request_iterator: AsyncIterator[session_pb2.AgentMessage],
        context: error_handling.Context,
    ) -> AsyncIterator[session_pb2.ControllerMessage]:
        """Serve one device's stream from hello to bye."""
        incoming = aiter_of(request_iterator)
        first_message = await _hello_of(incoming)
        protocol, features = first_message.protocol, frozenset(first_message.features)
        hello = serde.hello_from(first_message)
        auth.require_device(hello.device_id)
        await self._engine.clones.admit(hello.device_id, hello.name, hello.boot_id)
        outbox: asyncio.Queue[session_pb2.ControllerMessage | None] = asyncio.Queue()
        answers, effects = await self._engine.transactions.run_transaction(
            lambda c, fx, now: sessions.hello(c, fx, now, hello, self._order_verifier)
        )
        # A stream may last for months: release the data that only the reconciliation needed.
        del first_message
        hello = hello.without_order_evidence()
        outbox.put_nowait(session_pb2.ControllerMessage(welcome=self._welcome(answers)))
        signer = self._engine.signer if SIGNED in features else None
        session = self._engine.streams.open(
            hello.device_id,
            hello.boot_id,
            hello.idle,
            lambda message: outbox.put_nowait(_out(message, signer)),
            features,
        )
        self._open.add(outbox)
        self._coming.note(hello.name, hello.device_id)
        if protocol != PROTOCOL_VERSION:
            log.info(
                "protocol difference detected",
                device=hello.name,
                agent=protocol,
                controller=PROTOCOL_VERSION,
                hint=f"Both are compatible; update the {_older(protocol)} when convenient",
            )
        for report in hello.attempts:
            self._note_refusal(report)
        await self._engine.transactions.apply(effects)
        reader = asyncio.get_running_loop().create_task(
            self._read(incoming, hello.device_id, session, outbox)
        )
        try:
            while (message := await outbox.get()) is not None:
                yield message
            if not self._ending:
                await reader  # the reader has ended; its exception is the error of the call
        finally:
            reader.cancel()
            self._open.discard(outbox)
            self._engine.streams.close(hello.device_id, session)
            self._going.note(hello.name, hello.device_id)

    async def _read(
        self,
        incoming: AsyncIterator[session_pb2.AgentMessage],
        device_id: str,
        session: int,
        outbox: asyncio.Queue[session_pb2.ControllerMessage | None],
    ) -> None:
        shown = ProgressFilter(self._engine)
        try:
            async for message in incoming:
                if not self._engine.presence.current(device_id, session):
                    break  # a newer stream of the same device has replaced this one
                self._engine.streams.alive(device_id, session)
                body = message.WhichOneof("body")
                if body == "bye":
                    break
                if body == "heartbeat":
                    await self._heartbeat(device_id, session, message.heartbeat, outbox, shown)
                elif body == "attempt_report":
                    await self._report(device_id, message.attempt_report, shown)
                elif body == "log_chunk":
                    self._log_chunk(device_id, message.log_chunk)
                elif body == "capabilities_changed":
                    size = message.ByteSize()
                    if not self._engine.budget.spend(device_id, size, time.monotonic()):
                        raise quota_exceeded_error()
                    facts = capabilities_from(message.capabilities_changed.capabilities)
                    await self._engine.transactions.run_operation(
                        lambda c, fx, now, facts=facts: sessions.capabilities_changed(  # type: ignore[misc]
                            c, fx, now, device_id, facts
                        )
                    )
        finally:
            outbox.put_nowait(None)

    async def _heartbeat(
        self,
        device_id: str,
        session: int,
        beat: session_pb2.Heartbeat,
        outbox: asyncio.Queue[session_pb2.ControllerMessage | None],
        shown: ProgressFilter,
    ) -> None:
        self._engine.streams.heartbeat(device_id, session, beat.idle)
        validation.count(len(beat.attempts), validation.MAX_ATTEMPTS, "attempts")
        for report in beat.attempts:
            temperature = beat.temperature_c if beat.HasField("temperature_c") else None
            await self._publish(device_id, report, temperature, shown)
        ack = session_pb2.HeartbeatAck(
            sequence=beat.sequence, controller_time_unix_ns=now_unix_ns()
        )
        outbox.put_nowait(session_pb2.ControllerMessage(heartbeat_ack=ack))

    async def _report(
        self, device_id: str, message: session_pb2.AttemptReport, shown: ProgressFilter
    ) -> None:
        report = serde.report_from(message)
        if report.key.device_id != device_id:
            raise FleetmarkError(ErrorKind.FENCED, "the report is for another device's attempt")
        # Before the job is queued again, because the scheduler runs at once.
        self._note_refusal(report)
        await self._engine.transactions.run_operation(
            lambda c, fx, now: sessions.report(c, fx, now, report)
        )
        await self._publish(device_id, message, None, shown)

    def _note_refusal(self, report: sessions.DeviceReport) -> None:
        """Record a refusal for a retryable reason, so that the device rests before the next offer.

        A device that runs a job, or refuses one for a permanent reason, does not rest.
        """
        if report.state is AttemptState.REFUSED and report.retryable:
            self._engine.presence.refused(report.key.device_id, report.key.epoch)
        elif report.state in (AttemptState.RUNNING, AttemptState.UPLOADING, AttemptState.REFUSED):
            self._engine.presence.reset_refusals(report.key.device_id)

    def _log_chunk(self, device_id: str, chunk: common_pb2.LogChunk) -> None:
        key = serde.key_from(chunk.attempt)
        if key.device_id != device_id:
            raise FleetmarkError(ErrorKind.FENCED, "the log lines are for another device's attempt")
        self._engine.streams.logs.written(key, chunk.stream, chunk.offset, chunk.data, chunk.end)

    async def _publish(
        self,
        device_id: str,
        report: session_pb2.AttemptReport,
        temperature_c: float | None,
        shown: ProgressFilter,
    ) -> None:
        key = serde.key_from(report.attempt)
        if key.device_id != device_id:
            raise FleetmarkError(ErrorKind.FENCED, "the report is for another device's attempt")
        progress = report.progress
        event = JobEvent(
            key.job_id,
            key.device_id,
            serde.state_from(report.state),
            validation.text(progress.phase, 40),
            progress.done,
            progress.total,
            validation.temperature(temperature_c),
        )
        if await shown.may_show(key):
            self._engine.jobs.progress(event)

    def _welcome(self, answers: list[sessions.AttemptDecision]) -> session_pb2.Welcome:
        settings, keeper = self._engine.settings, self._engine.release_manager.keeper
        directive = session_pb2.AttemptDirective
        return session_pb2.Welcome(
            protocol=PROTOCOL_VERSION,
            controller_version=__version__,
            features=_FEATURES,
            controller_id=self._engine.controller_id,
            heartbeat_idle_ns=int(settings.heartbeat_idle_s * NS_PER_S),
            heartbeat_running_ns=int(settings.heartbeat_running_s * NS_PER_S),
            lease_ns=int(settings.lease_s * NS_PER_S),
            controller_time_unix_ns=now_unix_ns(),
            catalog_sha256=keeper.fingerprint if keeper else "",
            directives=[
                directive(
                    attempt=serde.key_to(answer.key),
                    action=directive.ACTION_CONTINUE if answer.keep else directive.ACTION_STOP,
                    reason=answer.reason,
                )
                for answer in answers
            ],
        )


async def _hello_of(messages: AsyncIterator[session_pb2.AgentMessage]) -> session_pb2.Hello:
    """Return the hello with which a stream begins.

    Raises:
        FleetmarkError: PROTOCOL: the stream begins with another message, or the protocol version is
            not supported.
    """
    late = asyncio.get_running_loop().call_later(
        _HELLO_S,
        auth.current().end,
        FleetmarkError(ErrorKind.PROTOCOL, "the agent did not send its hello in time"),
    )
    try:
        first = await anext_of(messages)
    finally:
        late.cancel()
    if first is None or first.WhichOneof("body") != "hello":
        raise FleetmarkError(ErrorKind.PROTOCOL, "the first message of a stream must be a hello")
    _check_protocol(first.hello.protocol)
    return first.hello


def _check_protocol(version: int) -> None:
    if abs(version - PROTOCOL_VERSION) > 1:
        raise FleetmarkError(
            ErrorKind.PROTOCOL,
            f"the agent speaks protocol {version}, but the controller speaks {PROTOCOL_VERSION}",
            next_step=f"Update the {_older(version)}",
        )


def _older(version: int) -> str:
    return "agent" if version < PROTOCOL_VERSION else "controller"


def _out(
    message: OfferEffect | StopEffect | TailEffect, signer: OrderSigner | None
) -> session_pb2.ControllerMessage:
    attempt = serde.key_to(message.key)
    if isinstance(message, OfferEffect):
        if signer is not None:
            offer = session_pb2.Offer(attempt=attempt, signed_order=signer.signed(message.order))
        else:
            offer = session_pb2.Offer(attempt=attempt, order=without_release(message.order))
        return session_pb2.ControllerMessage(offer=offer)
    if isinstance(message, TailEffect):
        tail = session_pb2.SetLogTail(attempt=attempt, enabled=message.wanted)
        return session_pb2.ControllerMessage(set_log_tail=tail)
    return session_pb2.ControllerMessage(
        stop=session_pb2.Stop(attempt=attempt, reason=message.reason)
    )


def aiter_of(
    messages: AsyncIterator[session_pb2.AgentMessage],
) -> AsyncIterator[session_pb2.AgentMessage]:
    """Return the iterator of a request stream."""
    return messages.__aiter__()


async def anext_of(
    messages: AsyncIterator[session_pb2.AgentMessage],
) -> session_pb2.AgentMessage | None:
    """Return the next message, or None at the end."""
    try:
        return await messages.__anext__()
    except StopAsyncIteration:
        return None
