"""The agent's side of the protocol, as a pure state machine.

It has no clock, does no I/O and starts nothing: `handle` takes one event and the time, and returns
the actions to perform, in order. Its rules:

- An attempt is accepted only when the device is idle. It is in the durable ledger before it is
  reported to the controller. An epoch that was seen once is never accepted again.
- Lost contact does not change an attempt: only the controller can stop it.
- Records are uploaded in order of seq. An attempt is forgotten only when the controller has
  acknowledged its last record, or has sent `Stop` after it learned that the attempt has ended. A
  `Stop` that crosses the end of the job is too late: the finished result is uploaded.
- While a job measures, nothing is uploaded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from fleetmark_agent.session.events import (
    Acknowledge,
    Action,
    AdmissionChanged,
    CapabilitiesFound,
    DeleteAttempt,
    DeleteLargeFiles,
    DeviceChanged,
    Event,
    JobEnded,
    JobProgressed,
    JobRefused,
    JobRunning,
    JobStopped,
    MessageReceived,
    Persist,
    Persisted,
    PersistFailed,
    Quit,
    Reconnect,
    Send,
    SetLogTail,
    ShutdownRequested,
    StartJob,
    StopJob,
    StreamClosed,
    StreamOpened,
    TimerFired,
    Upload,
    UploadDone,
    UploadFailed,
)
from fleetmark_agent.session.messages import (
    AttemptRef,
    AttemptReport,
    Bye,
    CapabilitiesChanged,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Offer,
    Progress,
    ReportedState,
    Stop,
    Tail,
    Welcome,
)
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.ledger import AttemptStatus, Ledger, LedgerEntry
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.retry import Backoff
from fleetmark_core.shared_repr import SharedRepr
from fleetmark_protos import PROTOCOL_VERSION

UPLOAD_BYTES = 1024 * 1024
"""Maximum size of one batch of uploaded records."""
_FIRST_CREDIT_BYTES = UPLOAD_BYTES
_RETRY_MIN_S = 0.5
_RETRY_MAX_S = 30.0
_CREDIT_POLL_S = 1.0
_FAREWELL_S = 3.0
_JOB_END_S = 15.0
_MIN_INTERVAL_S = 0.05
_UNFINISHED = (ReportedState.PREPARING, ReportedState.RUNNING)
_GIVEN_UP = (ReportedState.REFUSED, ReportedState.ABORTED)


@dataclass(frozen=True, repr=False)
class AgentIdentity(SharedRepr):
    """The fields that identify this agent in every hello."""

    device_id: str
    boot_id: str
    name: str
    agent_version: str
    capabilities: Capabilities
    labels: dict[str, str] = field(default_factory=dict)
    features: tuple[str, ...] = ()


@dataclass(repr=False)
class HeldAttempt(SharedRepr):
    """One attempt that the agent holds. Other modules may read it but must not change it."""

    key: LocalAttemptKey
    order: bytes
    state: ReportedState
    reason: str = ""
    retryable: bool = False
    cause: FailureCause | None = None
    """Cause of a refused or aborted attempt."""
    progress: Progress | None = None
    announced: bool = False
    """True if reports may include the attempt: its acceptance is durable."""
    stop_reason: str | None = None
    last_seq: int = 0
    acknowledged: int = 0
    leaving: bool = False
    """True if the attempt is being forgotten: it is no longer in the ledger or in reports."""


class Session:
    """The session state machine. Times are seconds of a monotonic clock."""

    def __init__(
        self,
        identity: AgentIdentity,
        ledger: Ledger,
        *,
        device_free: bool,
        spooled: dict[LocalAttemptKey, int],
    ) -> None:
        """Restore the state from disk.

        Args:
            identity: the fields of every hello.
            ledger: the stored ledger.
            device_free: whether no process holds the device's file lock.
            spooled: the last seq of each attempt in the spool.
        """
        self.identity = identity
        self.connected = False
        self.device_free = device_free
        self.highest_epoch = ledger.highest_epoch
        self.held: dict[LocalAttemptKey, HeldAttempt] = {}
        for entry in ledger.entries:
            state = {
                AttemptStatus.ACCEPTED: ReportedState.PREPARING,
                AttemptStatus.ENDED: ReportedState.UPLOADING,
                AttemptStatus.REFUSED: ReportedState.REFUSED,
                AttemptStatus.ABORTED: ReportedState.ABORTED,
            }[entry.standing]
            held = HeldAttempt(
                entry.key,
                entry.order,
                state,
                entry.reason,
                entry.retryable,
                entry.cause,
                announced=True,
            )
            if state is ReportedState.UPLOADING:
                held.last_seq = spooled.get(entry.key, 0)
            self.held[entry.key] = held
        self._open = False
        self._sent_finished: set[LocalAttemptKey] = set()  # UPLOADING in this stream's hello
        self._sent_capabilities: Capabilities | None = None  # last sent on this stream
        self._obstacle = ""
        self._number = 0
        self._stored = 0
        self._interval_idle_s = 15.0
        self._interval_running_s = 5.0
        self._lease_s = 30.0
        self._sequence = 0
        self._next_heartbeat = 0.0
        self._last_heard = 0.0
        self._uploading: LocalAttemptKey | None = None
        self._credit = _FIRST_CREDIT_BYTES
        self._upload_at = 0.0
        self._backoff = Backoff(_RETRY_MIN_S, _RETRY_MAX_S)
        self._persist_at: float | None = None
        self._leaving: str | None = None
        self._quit_at: float | None = None
        self._quit = False

    # --- public interface ---

    def start(self) -> list[Action]:
        """Return the actions that resume unfinished attempts. Call it once, before any event."""
        return [StartJob(held.key, held.order) for held in self._in(*_UNFINISHED)]

    @property
    def idle(self) -> bool:
        """Return whether no job runs on the device or is about to run."""
        return self.device_free and not self._in(*_UNFINISHED)

    def ledger(self) -> Ledger:
        """Return the ledger that must be durable now."""
        return Ledger(self.highest_epoch, tuple(self._entries()))

    def next_tick(self) -> float | None:
        """Return the time at which `TimerFired` is due; None if only other events matter."""
        times: list[float] = []
        if self._open:
            times.append(self._last_heard + self._silence_s())
        if self.connected:
            times.append(self._next_heartbeat)
            if self._uploading is None and self._upload_next() is not None:
                times.append(self._upload_at)
        if self._persist_at is not None:
            times.append(self._persist_at)
        if self._quit_at is not None and not self._quit:
            times.append(self._quit_at)
        return min(times) if times else None

    # --- events ---

    def handle(self, event: Event, now: float) -> list[Action]:
        """Apply `event` and return the actions. Ignore events of attempts that are not held."""
        actions = list(self._react(event, now))
        actions += self._housekeeping(now)
        return actions

    def _react(self, event: Event, now: float) -> Iterable[Action]:
        if isinstance(event, StreamOpened):
            self._open, self.connected = True, False
            self._last_heard = now
            self._sent_finished = {held.key for held in self._in(ReportedState.UPLOADING)}
            self._sent_capabilities = self.identity.capabilities
            return [Send(self._hello())]
        if isinstance(event, StreamClosed):
            self._open = self.connected = False
            return []
        if isinstance(event, MessageReceived):
            return self._received(event, now) if self._open else []
        if isinstance(event, Persisted):
            self._stored = max(self._stored, event.number)
            return self._stored_now(now)
        if isinstance(event, PersistFailed):
            return self._not_stored(event, now)
        if isinstance(event, DeviceChanged):
            self.device_free = event.free
            return self._send_heartbeat(now)
        if isinstance(event, AdmissionChanged):
            self._obstacle = event.obstacle
            return []
        if isinstance(event, CapabilitiesFound):
            self.identity = replace(self.identity, capabilities=event.capabilities)
            return self._send_capabilities()
        if isinstance(event, ShutdownRequested):
            return self._begin_shutdown(event.reason, now)
        if isinstance(event, TimerFired):
            return self._tick(now)
        if isinstance(event, (UploadDone, UploadFailed)):
            return self._uploaded(event, now)
        return self._job_event(event, now)

    def _received(self, event: MessageReceived, now: float) -> list[Action]:
        message = event.message
        self._last_heard = now
        if isinstance(message, Welcome):
            return self._welcomed(message, now)
        if isinstance(message, Bye):
            self._open = self.connected = False
            reason = f"the controller closed the session: {message.reason}"
            return [Reconnect(reason, message.retry_after_s)]
        if not self.connected or isinstance(message, HeartbeatAck):
            return []
        if isinstance(message, Offer):
            return self._offered(message)
        if isinstance(message, Tail):
            held = self.held.get(message.attempt.key)
            if held is None or held.leaving or message.attempt.device_id != self.identity.device_id:
                return []
            return [SetLogTail(message.attempt, message.wanted)]
        return self._stop(message, now)

    def _welcomed(self, welcome: Welcome, now: float) -> list[Action]:
        if abs(welcome.protocol - PROTOCOL_VERSION) > 1:
            self._open = False
            reason = (
                f"the controller uses protocol {welcome.protocol}, this agent {PROTOCOL_VERSION}"
            )
            return [Reconnect(reason, _RETRY_MAX_S)]
        self.connected = True
        self._interval_idle_s = max(welcome.heartbeat_idle_s, _MIN_INTERVAL_S)
        self._interval_running_s = max(welcome.heartbeat_running_s, _MIN_INTERVAL_S)
        self._lease_s = max(welcome.lease_s, _MIN_INTERVAL_S)
        self._next_heartbeat = now + self._interval_s()
        self._credit, self._upload_at = _FIRST_CREDIT_BYTES, now
        self._backoff.reset()
        actions: list[Action] = []
        for verdict in welcome.verdicts:
            if verdict.stop:
                known = verdict.attempt.key in self._sent_finished
                actions += self._stop(Stop(verdict.attempt, verdict.reason), now, final=known)
        # Changes between the hello and this welcome were not sent to the controller.
        actions += self._send_capabilities()
        actions += [Send(report) for report in self._reports()]
        return actions

    def _offered(self, offer: Offer) -> list[Action]:
        key = offer.attempt.key
        held = self.held.get(key)
        if held is not None:
            return [Send(self._report(held))] if held.announced and not held.leaving else []
        if not key.is_valid():
            return []
        fault, retryable, cause = self._why_refused(offer)
        held = HeldAttempt(key, offer.order, ReportedState.PREPARING)
        if fault:
            held = HeldAttempt(key, b"", ReportedState.REFUSED, fault, retryable, cause)
        self.held[key] = held
        self.highest_epoch = max(self.highest_epoch, key.epoch)
        return [self._persist()]

    def _why_refused(self, offer: Offer) -> tuple[str, bool, FailureCause]:
        """Return why the offer must be refused, whether a retry may succeed, and the cause.

        The first is empty if the offer can be accepted.
        """
        device, controller = FailureCause.DEVICE, FailureCause.CONTROLLER
        ref = offer.attempt
        if ref.device_id != self.identity.device_id:
            return "the offer names another device", False, controller
        if ref.epoch <= self.highest_epoch:
            return (
                f"epoch {ref.epoch} is not above {self.highest_epoch}, the highest known epoch",
                True,
                controller,
            )
        from fleetmark_core.order import parse_order

        try:
            order = parse_order(offer.order)
        except FleetmarkError as error:
            return str(error), False, controller
        if (order.device_id, order.job_id, order.epoch) != (ref.device_id, ref.job_id, ref.epoch):
            return "the order belongs to another attempt", False, controller
        if self._leaving is not None:
            return "the agent is shutting down", True, device
        if not self.idle:
            running = self._in(*_UNFINISHED)
            return (
                f"busy with job {running[0].key.job_id}" if running else "the device is busy",
                True,
                device,
            )
        return self._obstacle, True, device

    def _stop(self, stop: Stop, now: float, *, final: bool = False) -> list[Action]:
        """Apply a `Stop`.

        Args:
            stop: the controller's message.
            now: the current time.
            final: whether the controller knows that the attempt has finished.
        """
        key = stop.attempt.key
        held = self.held.get(key)
        if held is None:
            if not key.is_valid() or key.epoch <= self.highest_epoch:
                return []
            # The offer has not arrived. It must not be accepted when it does.
            self.highest_epoch = key.epoch
            self.held[key] = HeldAttempt(
                key,
                b"",
                ReportedState.ABORTED,
                "the attempt was stopped before its offer arrived",
                retryable=True,
                cause=FailureCause.CONTROLLER,
            )
            return [self._persist()]
        if held.leaving:
            return []
        if held.state in _GIVEN_UP:
            return self._forget(held)
        reason = stop.reason or "the controller stopped the attempt"
        if held.state is ReportedState.UPLOADING and not final:
            # The `Stop` crossed the end of the job. A finished result is uploaded in any case.
            return []
        if held.state is ReportedState.UPLOADING or not held.announced:
            return self._give_up(
                held, ReportedState.ABORTED, reason, retryable=False, cause=FailureCause.CONTROLLER
            )
        if held.stop_reason is None:
            held.stop_reason = reason
            return [StopJob(key, reason)]
        return []

    def _job_event(
        self, event: JobRunning | JobProgressed | JobRefused | JobEnded | JobStopped, now: float
    ) -> list[Action]:
        held = self.held.get(event.key)
        if held is None or held.state not in _UNFINISHED:
            return []
        if isinstance(event, JobRunning):
            held.state = ReportedState.RUNNING
            return [*self._send_report(held), *self._send_heartbeat(now)]
        if isinstance(event, JobProgressed):
            held.progress = event.progress
            return []
        if isinstance(event, JobRefused) and held.stop_reason is None:
            given_up = self._give_up(
                held,
                ReportedState.REFUSED,
                event.reason,
                retryable=event.retryable,
                cause=event.cause,
            )
            return [*given_up, *self._send_heartbeat(now)]
        if isinstance(event, JobEnded):
            held.state, held.stop_reason = ReportedState.UPLOADING, None
            held.progress = None
            held.last_seq = event.last_seq
            self._upload_at = now
            return [self._persist(), *self._send_report(held), *self._send_heartbeat(now)]
        fault = event.reason if isinstance(event, JobStopped) else ""
        reason = held.stop_reason or fault or "the job was stopped on the device"
        retryable = self._leaving is not None or held.stop_reason is None
        given_up = self._give_up(
            held, ReportedState.ABORTED, reason, retryable=retryable, cause=FailureCause.DEVICE
        )
        return [*given_up, *self._send_heartbeat(now)]

    def _uploaded(self, event: UploadDone | UploadFailed, now: float) -> list[Action]:
        if self._uploading == event.key:
            self._uploading = None
        held = self.held.get(event.key)
        if isinstance(event, UploadFailed):
            self._back_off(now)
            return []
        self._credit = event.credit_bytes
        if held is None or held.state is not ReportedState.UPLOADING or held.leaving:
            return []
        if event.nothing_sent:
            self._upload_at = now if event.credit_bytes else now + _CREDIT_POLL_S
            return []
        before = held.acknowledged
        # A controller restored from a backup acknowledges less than before; it gets the rest again.
        held.acknowledged = min(event.through_seq, held.last_seq)
        if held.acknowledged > before:
            self._upload_at = now
            self._backoff.reset()
        else:
            self._back_off(now)
        actions: list[Action] = []
        if held.acknowledged:
            actions.append(Acknowledge(held.key, held.acknowledged))
        if held.last_seq and held.acknowledged >= held.last_seq:
            actions += self._forget(held)
        return actions

    # --- the ledger ---

    def _persist(self) -> Persist:
        self._number += 1
        self._persist_at = None
        return Persist(self._number, self.ledger())

    def _stored_now(self, now: float) -> list[Action]:
        """Perform the actions that waited for the newest ledger to be durable."""
        if self._stored < self._number:
            return []
        actions: list[Action] = []
        for held in list(self.held.values()):
            if held.leaving:
                del self.held[held.key]
                actions.append(DeleteAttempt(held.key))
            elif not held.announced:
                held.announced = True
                actions += self._send_report(held)
                if held.state is ReportedState.PREPARING:
                    actions.append(StartJob(held.key, held.order))
                    actions += self._send_heartbeat(now)
        return actions

    def _not_stored(self, event: PersistFailed, now: float) -> list[Action]:
        if event.number < self._number:
            return []
        self._persist_at = now + _RETRY_MAX_S / 10
        actions: list[Action] = []
        for held in self.held.values():
            if held.announced or held.leaving:
                continue
            if held.state is ReportedState.PREPARING:
                held.state, held.retryable = ReportedState.REFUSED, True
                held.cause = FailureCause.DEVICE
                held.reason = (
                    f"the device cannot store that it accepted the attempt: {event.reason}"
                )
            # A refusal may be sent before it is durable: if it is lost, the offer is refused again.
            held.announced = True
            actions += self._send_report(held)
        return actions

    def _entries(self) -> Iterable[LedgerEntry]:
        for held in sorted(self.held.values(), key=lambda held: held.key.epoch):
            if held.leaving:
                continue
            standing = {
                ReportedState.UPLOADING: AttemptStatus.ENDED,
                ReportedState.REFUSED: AttemptStatus.REFUSED,
                ReportedState.ABORTED: AttemptStatus.ABORTED,
            }.get(held.state, AttemptStatus.ACCEPTED)
            yield LedgerEntry(
                held.key, standing, held.order, held.reason, held.retryable, held.cause
            )

    def _give_up(
        self,
        held: HeldAttempt,
        state: ReportedState,
        reason: str,
        *,
        retryable: bool,
        cause: FailureCause,
    ) -> list[Action]:
        held.state, held.reason, held.retryable, held.cause = state, reason, retryable, cause
        held.stop_reason = held.progress = None
        if not held.announced:
            return [self._persist()]
        return [self._persist(), *self._send_report(held)]

    def _forget(self, held: HeldAttempt) -> list[Action]:
        held.leaving = True
        # Delete large files first: on a full disk this frees the space that the ledger needs.
        return [DeleteLargeFiles(held.key), self._persist()]

    # --- time ---

    def _tick(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self._persist_at is not None and now >= self._persist_at:
            actions.append(self._persist())
        if self._open and now >= self._last_heard + self._silence_s():
            self._open = self.connected = False
            actions.append(Reconnect("the controller has been silent for longer than its lease"))
        if self.connected and now >= self._next_heartbeat:
            actions += self._send_heartbeat(now)
        return actions

    def _send_heartbeat(self, now: float) -> list[Action]:
        if not self.connected:
            return []
        self._next_heartbeat = now + self._interval_s()
        self._sequence += 1
        return [Send(Heartbeat(self._sequence, self.idle, self._reports()))]

    def _interval_s(self) -> float:
        return self._interval_running_s if self._in(*_UNFINISHED) else self._interval_idle_s

    def _silence_s(self) -> float:
        return max(self._lease_s, 2.5 * self._interval_s())

    def _housekeeping(self, now: float) -> list[Action]:
        actions: list[Action] = []
        if self.connected and self._uploading is None and now >= self._upload_at:
            chosen = self._upload_next()
            if chosen is not None:
                self._uploading = chosen.key
                limit = min(self._credit, UPLOAD_BYTES)
                actions.append(Upload(chosen.key, chosen.acknowledged, limit))
        if self._quit_at is not None and not self._quit:
            waiting = self._in(*_UNFINISHED) or (self.connected and self._in(ReportedState.ABORTED))
            if not waiting or now >= self._quit_at:
                self._quit = True
                if self.connected:
                    actions.append(Send(Bye(self._leaving or "")))
                actions.append(Quit())
        return actions

    def _upload_next(self) -> HeldAttempt | None:
        if self._in(ReportedState.RUNNING):
            return None
        waiting = [
            held
            for held in self._in(ReportedState.UPLOADING)
            if held.acknowledged < held.last_seq and not held.leaving
        ]
        return min(waiting, key=lambda held: held.key.epoch) if waiting else None

    def _back_off(self, now: float) -> None:
        self._upload_at = now + self._backoff.next_s()

    def _begin_shutdown(self, reason: str, now: float) -> list[Action]:
        if self._leaving is not None:
            return []
        self._leaving = reason
        # Give a running job time to end; after that, the next start of the agent collects the rest.
        self._quit_at = now + _FAREWELL_S + (_JOB_END_S if self._in(*_UNFINISHED) else 0.0)
        actions: list[Action] = []
        for held in self._in(*_UNFINISHED):
            if not held.announced:
                actions += self._give_up(
                    held, ReportedState.ABORTED, reason, retryable=True, cause=FailureCause.DEVICE
                )
            elif held.stop_reason is None:
                held.stop_reason = reason
                actions.append(StopJob(held.key, reason))
        return actions

    # --- messages ---

    def _in(self, *states: ReportedState) -> list[HeldAttempt]:
        return [held for held in self.held.values() if held.state in states]

    def _send_report(self, held: HeldAttempt) -> list[Action]:
        return [Send(self._report(held))] if self.connected and held.announced else []

    def _send_capabilities(self) -> list[Action]:
        known = self.identity.capabilities
        if not self.connected or known == self._sent_capabilities:
            return []
        self._sent_capabilities = known
        return [Send(CapabilitiesChanged(known))]

    def _report(self, held: HeldAttempt) -> AttemptReport:
        ref = AttemptRef(
            self.identity.device_id, held.key.job_id, held.key.epoch, self.identity.boot_id
        )
        return AttemptReport(
            ref, held.state, held.progress, held.reason, held.retryable, cause=held.cause
        )

    def _reports(self) -> tuple[AttemptReport, ...]:
        shown = [held for held in self.held.values() if held.announced and not held.leaving]
        return tuple(self._report(held) for held in sorted(shown, key=lambda held: held.key.epoch))

    def _hello(self) -> Hello:
        who = self.identity
        unheard = [held for held in self.held.values() if not held.announced]
        return Hello(
            who.agent_version,
            who.features,
            who.device_id,
            who.name,
            who.boot_id,
            who.labels,
            who.capabilities,
            # Exclude offers whose acceptance is not durable yet: the controller then sends them
            # again instead of treating them as lost.
            min([self.highest_epoch, *(h.key.epoch - 1 for h in unheard)]),
            self._reports(),
            self.idle,
        )
