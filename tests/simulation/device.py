"""A device: the real session, spool and ledger on a simulated disk, with a simulated job.

The supervisor and its job outlive a killed agent; a power failure ends everything and loses what
was not made durable. The device keeps a trace of its own: what ran when, and what was completed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleetmark_agent.session import events as h
from fleetmark_agent.session.machine import AgentIdentity, Session
from fleetmark_agent.session.messages import AttemptReport, Bye, Hello, Progress
from fleetmark_agent.session.order_evidence import with_order_evidence
from fleetmark_agent.state import ledger as ledgers
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.spool import Spool, SpoolFull
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.lockfile import LOCK_FORMAT, Environment, Lockfile, Program
from fleetmark_core.records import Final, Record, seal
from tests.simulation.clock_and_events import SimulationContext
from tests.simulation.disk import Disk, ProcessKilled
from tests.simulation.network import Network, Stream

if TYPE_CHECKING:
    from tests.simulation.controller import SimulatedController

SPOOL_BYTES = 1 << 20
LOCK_BYTES = Lockfile(
    LOCK_FORMAT, "b", (), Program(("x",), (), ()), {}, Environment("3.11", ()), {}
).canonical()
"""The lock of every job."""


@dataclass
class Running:
    """The attempt that the supervisor runs."""

    key: LocalAttemptKey
    began_s: float


class SimulatedDevice:
    """One device."""

    def __init__(
        self,
        context: SimulationContext,
        name: str,
        network: Network,
        controller: SimulatedController,
        facts: Capabilities,
        crash_rate: float = 0.0,
        full_rate: float = 0.0,
    ) -> None:
        self.context = context
        self.name = name
        self.network = network
        self.controller = controller
        self.facts = facts
        self.disk = Disk(context, crash_rate, full_rate)
        self.running: Running | None = None
        self.trace: list[tuple[LocalAttemptKey, float, float]] = []
        """(attempt, began, ended) of everything that ever ran."""
        self.completed: set[LocalAttemptKey] = set()
        """Attempts whose final record is durable in the spool."""
        self.unwanted: set[LocalAttemptKey] = set()
        """Attempts that the controller ordered to stop."""
        self.session: Session | None = None
        self._outcomes: set[LocalAttemptKey] = set()  # on disk: the supervisor's outcome.json
        self._life = 0
        self._stream: Stream | None = None
        self._stop_wanted: set[LocalAttemptKey] = set()
        self._paused_until = 0.0

    # --- life of the agent's process ---

    def boot(self) -> None:
        """Start the agent's process."""
        self._life += 1
        life = self._life
        self._stream = None
        self._stop_wanted.clear()
        try:
            ledger = ledgers.load(self.disk)
            self.spool = Spool(self.disk, SPOOL_BYTES)
            held = {entry.key for entry in ledger.entries}
            for key in self.spool.attempts():
                if key not in held:
                    self.spool.forget(key)
        except ProcessKilled as killed:
            self._fall(killed)
            return
        except OSError:
            self.session = None
            self.context.after(2.0, lambda: self.boot() if life == self._life else None)
            return
        identity = AgentIdentity(self.name, f"{self.name}-{life}", self.name, "0.1.0", self.facts)
        spooled = {key: self.spool.last_seq(key) for key in self.spool.attempts()}
        self.session = Session(identity, ledger, device_free=self.device_free(), spooled=spooled)
        self.context.note(f"{self.name}: agent starts, holds {sorted(k.name for k in held)}")
        self._perform(self.session.start())
        if self.session is not None:
            self.context.after(self.context.random.uniform(0, 0.5), lambda: self._dial(life))
            self._keep_time(life)

    def kill(self, power: bool) -> None:
        """Kill the agent, or cut the power."""
        if self.session is not None:
            self._fall(ProcessKilled(power))

    def pause(self, seconds: float) -> None:
        """Stop the agent, as SIGSTOP does: events are delayed."""
        self._paused_until = self.context.now_s + seconds

    def device_free(self) -> bool:
        """Return whether the device's lock is free."""
        return self.running is None

    def _fall(self, killed: ProcessKilled) -> None:
        self.context.note(f"{self.name}: {killed}")
        self.session = None
        self._life += 1
        if self._stream is not None:
            self._stream.sever(0.5 if not killed.power else 8.0)
        if killed.power:
            self._end_job()
            self.disk.lose_power()
        self.context.after(self.context.random.uniform(0.2, 15.0), self.boot)

    # --- events and actions ---

    def feed(self, event: h.Event) -> None:
        """Pass an event to the session and perform its actions."""
        if self.session is None:
            return
        life = self._life
        if self.context.now_s < self._paused_until:
            delay = self._paused_until - self.context.now_s
            self.context.after(delay, lambda: self.feed(event) if life == self._life else None)
            return
        self._perform(self.session.handle(event, self.context.now_s))

    def _perform(self, actions: list[h.Action]) -> None:
        try:
            for action in actions:
                if self.session is None:
                    return
                self._do(action)
        except ProcessKilled as killed:
            self._fall(killed)

    def _do(self, action: h.Action) -> None:
        if isinstance(action, h.Send):
            if self._stream is not None and self.session is not None:
                message = action.message
                if isinstance(message, Hello):
                    message = with_order_evidence(message, self.session.held, self._lock_of)
                self._stream.up(message)
        elif isinstance(action, h.Persist):
            self._persist(action)
        elif isinstance(action, h.StartJob):
            self._start_job(action.key)
        elif isinstance(action, h.StopJob):
            self._stop_job(action.key)
        elif isinstance(action, h.Upload):
            self._upload(action)
        elif isinstance(action, h.Acknowledge):
            self.spool.acknowledge(action.key, action.through_seq)
        elif isinstance(action, h.DeleteAttempt):
            try:
                self.spool.forget(action.key)
            except OSError:
                return
            self._outcomes.discard(action.key)
        elif isinstance(action, h.Reconnect):
            if self._stream is not None:
                self._stream.sever()
                self._stream = None
            life = self._life
            self.context.after(action.after_s + 0.2, lambda: self._dial(life))

    def _lock_of(self, key: LocalAttemptKey) -> bytes:
        begun = self.running is not None and self.running.key == key
        if begun or key in self._outcomes or self.spool.last_seq(key):
            return LOCK_BYTES
        raise FileNotFoundError("not fetched yet")

    def _persist(self, action: h.Persist) -> None:
        try:
            ledgers.save(self.disk, action.ledger)
        except OSError as error:
            event: h.Event = h.PersistFailed(action.number, str(error))
        else:
            event = h.Persisted(action.number)
        self._later(0.001, event)

    def _later(self, delay_s: float, event: h.Event) -> None:
        life = self._life
        self.context.after(delay_s, lambda: self.feed(event) if life == self._life else None)

    def _keep_time(self, life: int) -> None:
        if life != self._life or self.session is None:
            return
        due = self.session.next_tick()
        if due is not None and due <= self.context.now_s:
            self.feed(h.TimerFired())
        self.context.after(0.25, lambda: self._keep_time(life))

    # --- the link ---

    def _dial(self, life: int) -> None:
        if life != self._life or self.session is None or self._stream is not None:
            return
        stream = Stream(self.network, self.name)

        def on_message(message: Any) -> None:
            if life == self._life and self._stream is stream:
                self.feed(h.MessageReceived(message))
                if isinstance(message, Bye):
                    closed()

        def closed() -> None:
            if life == self._life and self._stream is stream:
                self._stream = None
                self.feed(h.StreamClosed())
                self.context.after(self.context.random.uniform(0.2, 2.0), lambda: self._dial(life))

        stream.on_device, stream.closed_at_device = on_message, closed
        unreachable = self.name in self.network.to_controller_down
        if unreachable or not self.controller.accept(stream):
            self.context.after(self.context.random.uniform(0.2, 2.0), lambda: self._dial(life))
            return
        self._stream = stream
        self.feed(h.StreamOpened())

    def _upload(self, action: h.Upload) -> None:
        key, life = action.key, self._life
        if not action.max_bytes:
            self._later(0.01, h.UploadDone(key, 0, 1 << 20, nothing_sent=True))
            return
        records = self.spool.read(key, action.after_seq, min(action.max_bytes, 120))

        def reply(through: int) -> None:
            if life == self._life:
                self.feed(h.UploadDone(key, through, 1 << 20))

        def fail() -> None:
            if life == self._life:
                self.feed(h.UploadFailed(key, "the call failed"))

        self.network.call(
            self.name, lambda: self.controller.append(self.name, key, records), reply, fail
        )

    # --- the job: supervisor and program, and the runner's collecting ---

    def _start_job(self, key: LocalAttemptKey) -> None:
        if key in self._outcomes:
            self._collect(key)
            return
        if self.running is not None:
            if self.running.key == key:
                self._later(0.001, h.JobRunning(key))
                self._later(0.001, h.DeviceChanged(False))
            else:
                # The lock is held by another attempt's supervisor: wait for it, as flock does.
                life = self._life
                again = self.context.random.uniform(0.5, 1.0)
                self.context.after(
                    again, lambda: self._start_job(key) if life == self._life else None
                )
            return
        if self.spool.last_seq(key):
            self._collect(key)
            return
        if self.context.chance(0.05):
            self._later(
                0.01,
                h.JobRefused(
                    key,
                    "no room",
                    self.context.random.random() < 0.5,
                    self.context.random.choice(list(FailureCause)),
                ),
            )
            return
        self.begin(key)
        self._later(0.001, h.JobRunning(key))
        self._later(0.001, h.DeviceChanged(False))

    def begin(self, key: LocalAttemptKey) -> None:
        """Take the device's lock and start the job, as the supervisor does."""
        self.running = Running(key, self.context.now_s)
        self.context.note(f"{self.name}: job {key.name} begins")
        self.context.after(self.context.random.uniform(0.5, 25.0), lambda: self._job_done(key))

    def _job_done(self, key: LocalAttemptKey) -> None:
        if self.running is None or self.running.key != key:
            return
        self._end_job()
        self._outcomes.add(key)
        self.context.note(f"{self.name}: job {key.name} ends")
        if self.session is not None:
            self._later(0.001, h.DeviceChanged(True))
            life = self._life
            self.context.after(0.01, lambda: self._collect(key) if life == self._life else None)

    def _end_job(self) -> None:
        if self.running is not None:
            self.trace.append((self.running.key, self.running.began_s, self.context.now_s))
            self.running = None

    def _stop_job(self, key: LocalAttemptKey) -> None:
        self.unwanted.add(key)
        if self.running is not None and self.running.key == key:
            self._end_job()
            self._later(0.001, h.DeviceChanged(True))
        if key not in self._outcomes:
            self._stop_wanted.add(key)
            self._later(0.05, h.JobStopped(key))

    def _collect(self, key: LocalAttemptKey) -> None:
        if self.session is None or key in self._stop_wanted:
            return
        records = records_of(key)
        try:
            begun = self.spool.last_seq(key)
            for record in records[begun:]:
                self.spool.append(key, record.kind, record.payload)
                if self.context.chance(0.02):
                    raise ProcessKilled(power=False)
        except (OSError, SpoolFull):
            life = self._life
            self.context.after(2.0, lambda: self._collect(key) if life == self._life else None)
            return
        except ProcessKilled as killed:
            if self.spool.is_sealed(key):
                self.completed.add(key)
            self._fall(killed)
            return
        self.completed.add(key)
        self._later(0.001, h.JobEnded(key, len(records)))
        self._later(0.001, h.JobProgressed(key, Progress("done")))


def records_of(key: LocalAttemptKey) -> list[Record]:
    """Return the records of an attempt's run, derived from its key."""
    chance = random.Random(key.name)
    payloads = [("event", b'{"n":%d,"e":%d}' % (n, key.epoch)) for n in range(chance.randint(0, 4))]
    records = [Record(n, kind, payload) for n, (kind, payload) in enumerate(payloads, 1)]
    final = Final(
        count=len(records) + 1,
        digest=seal(record.sha256 for record in records),
        outcome="completed" if chance.random() < 0.8 else "failed",
        reason="",
        exit_code=0,
        retryable=chance.random() < 0.5,
        started_unix_ns=0,
        duration_ns=1,
        provenance={"failure": {"cause": chance.choice([cause.value for cause in FailureCause])}},
    )
    return [*records, Record(len(records) + 1, "final", final.payload())]


def report_of(message: AttemptReport) -> tuple[LocalAttemptKey, str, str, bool]:
    """Return key, state, reason and whether the failure is retryable."""
    return message.attempt.key, message.state.value, message.reason, message.retryable
