"""The stream to the controller: it is kept open and reconnected with jitter."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleetmark_agent.net.transport import Stream, Transport, TransportError
from fleetmark_agent.session.events import Event, MessageReceived, StreamClosed, StreamOpened
from fleetmark_agent.session.messages import AgentMessage, Offer, Welcome
from fleetmark_core.log import get_logger
from fleetmark_core.retry import Backoff, ReasonThrottle

log = get_logger(__name__)

_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 5.0
_AGAIN_S = 30.0
_AGAIN_LONGEST_S = 3600.0
_MOST_REASONS = 16
"""Maximum number of reasons logged per outage: a foreign server may vary its answers."""


class ControllerConnection:
    """Maintainer of the stream; reports when it opens and closes, and each received message."""

    def __init__(
        self,
        transport: Transport,
        tell: Callable[[Event], None],
        before_offer: Callable[[], None],
        failed: Callable[[TransportError], None] = lambda error: None,
    ) -> None:
        """Prepare the connection; nothing is sent before `run`.

        Args:
            transport: the calls to the controller.
            tell: called with each event.
            before_offer: called before an offer is reported, so that admission is decided on fresh
                data.
            failed: called after each stream that ended with an error.
        """
        self._transport = transport
        self._tell = tell
        self._before_offer = before_offer
        self._failed = failed
        self._stream: Stream | None = None
        self._outgoing: asyncio.Queue[AgentMessage | None] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._wait_at_least_s = 0.0
        # Jitter, so that a fleet that lost its controller does not reconnect at the same time.
        self._backoff = Backoff(_FIRST_DELAY_S, _LONGEST_DELAY_S, jitter=0.5)
        self.outage = ""
        """The last logged reason why there is no connection; empty while connected."""
        self._throttle = ReasonThrottle(_AGAIN_S, _AGAIN_LONGEST_S, _MOST_REASONS)
        self._drop_reason = ""
        self._ended = False
        self.was_connected = False
        self._was_open = False  # whether the controller welcomed the device on the last stream

    async def run(self) -> None:
        """Keep a stream open until `say_last` or cancellation."""
        while not self._ended:
            reason = await self._one_stream()
            if self._ended:
                return
            self._note_outage(reason)
            self._tell(StreamClosed(reason))
            await asyncio.sleep(max(self._backoff.next_s(), self._wait_at_least_s))
            self._wait_at_least_s = 0.0

    def send(self, message: AgentMessage) -> None:
        """Queue the message for the open stream, in order; without a stream it is dropped."""
        if self._stream is not None:
            self._outgoing.put_nowait(message)

    def drop(self, reason: str, after_s: float) -> None:
        """Close the stream and reconnect after at least `after_s` seconds."""
        self._wait_at_least_s = max(0.0, min(after_s, 3600.0))
        stream = self._stream
        if stream is None:
            log.info("connection delayed", reason=reason, delay_s=self._wait_at_least_s)
        else:
            self._drop_reason = reason  # logged when the stream has ended
            self._closing = asyncio.ensure_future(stream.close())

    async def drain_and_close(self, timeout_s: float) -> None:
        """Send all queued messages, then close the stream; wait at most `timeout_s`."""
        self._ended = True
        stream, writer = self._stream, self._writer
        if stream is None or writer is None:
            return
        self._outgoing.put_nowait(None)
        await asyncio.wait({writer}, timeout=timeout_s)
        await stream.close()

    def _note_outage(self, reason: str) -> None:
        """Log why there is no connection, when the reason is new and while it lasts.

        The same reason is logged again after a pause that doubles from 30 s to one hour, so that
        two reasons that alternate with every try do not fill the log.
        """
        if self._throttle.is_due(reason, asyncio.get_running_loop().time()):
            self.outage = reason
            address = self._transport.address
            if self._drop_reason:
                log.warning("connection closed", address=address, reason=reason)
            else:
                event = "connection lost" if self._was_open else "connection failed"
                log.warning(event, address=address, error=reason)

    async def _one_stream(self) -> str:
        """Run one stream and return the reason why it ended."""
        self._drop_reason, self._was_open = "", False
        try:
            stream = await self._transport.connect()
        except TransportError as error:
            self._failed(error)
            return str(error)
        self._stream, self._outgoing = stream, asyncio.Queue()
        self._writer = asyncio.ensure_future(self._write(stream, self._outgoing))
        try:
            self._tell(StreamOpened())
            while (message := await stream.receive()) is not None:
                if isinstance(message, Welcome):
                    self._backoff.reset()
                    self._throttle.reset()
                    self.outage, self.was_connected, self._was_open = "", True, True
                    log.info("controller connected", address=self._transport.address)
                elif isinstance(message, Offer):
                    self._before_offer()
                self._tell(MessageReceived(message))
        except TransportError as error:
            self._failed(error)
            return self._drop_reason or str(error)
        finally:
            self._stream = None
            self._writer.cancel()
            # Unlike a suppressed CancelledError, this does not swallow the cancellation of this
            # task.
            await asyncio.gather(self._writer, return_exceptions=True)
            await stream.close()
        ended = f"the stream to the controller at {self._transport.address} has ended"
        return self._drop_reason or ended

    async def _write(self, stream: Stream, outgoing: asyncio.Queue[AgentMessage | None]) -> None:
        while (message := await outgoing.get()) is not None:
            try:
                await stream.send(message)
            except TransportError as error:
                # The reader gets the same error and reports the reason.
                log.debug("message not sent", error=error)
                return
