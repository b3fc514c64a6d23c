"""The controller: the real operations, presence and scheduler on a real SQLite database.

Every transaction is a point at which the controller may be killed: before its commit (nothing
happened) or after it (nothing that should follow happened).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from fleetmark_agent.session import messages as m
from fleetmark_agent.state import attempt_key
from fleetmark_controller.engine.verification import COMPLETED
from fleetmark_controller.evaluation.records import parse_sealed
from fleetmark_controller.lifecycle import fencing
from fleetmark_controller.lifecycle.failure_policy import cause_of_final
from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.lifecycle.states import AttemptState, JobState
from fleetmark_controller.operations import campaigns, dispatch, results, sessions
from fleetmark_controller.operations.effects import Effects, OfferEffect, StopEffect
from fleetmark_controller.operations.recovery import OrderVerifier
from fleetmark_controller.operations.results import Evaluation
from fleetmark_controller.planning.model import JobOption, NewCampaign, NewJob
from fleetmark_controller.scheduling.model import Policy
from fleetmark_controller.scheduling.planner import Planner
from fleetmark_controller.scheduling.presence import Presence
from fleetmark_controller.store import epochs
from fleetmark_controller.store.db.connection import connect, migrate
from fleetmark_controller.store.devices import device_admin, devices
from fleetmark_controller.store.devices.device_admin import Hold
from fleetmark_controller.store.jobs import attempts
from fleetmark_controller.store.jobs import campaigns as stored_campaigns
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.results import records
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.clock import iso
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.records import Record
from tests.simulation.clock_and_events import SimulationContext, Violation
from tests.simulation.device import LOCK_BYTES, report_of
from tests.simulation.network import Stream

T = TypeVar("T")
NS = 1_000_000_000
LEASE_S = 6.0
LOCK = sha256_hex(LOCK_BYTES)
CAMPAIGN = "campaign"
DEADLINE_S = 400
# No quarantine: no operator is simulated who checks a device and releases it.
SCHEDULER = Planner(Policy(quarantine_after=0))


class ControllerKilled(Exception):
    """The controller was killed during an operation."""


def empty_store() -> sqlite3.Connection:
    """Return a migrated, empty database to copy from."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "results.db"
        migrate(path)
        source = connect(path)
        memory = sqlite3.connect(":memory:", check_same_thread=False)
        source.backup(memory)
        source.close()
    return memory


@dataclass(frozen=True)
class Backup:
    """A copy of the store, with the acknowledged records at that time."""

    store: sqlite3.Connection
    acknowledged: dict[AttemptKey, int]
    discarded: set[AttemptKey]


class SimulatedController:
    """A controller with a real store, presence and scheduler, and a simulated network."""

    acknowledge_before_commit = False

    def __init__(
        self,
        context: SimulationContext,
        empty: sqlite3.Connection,
        facts: Capabilities,
        crash_rate: float,
    ) -> None:
        self.context = context
        self.facts = facts
        self.crash_rate = crash_rate
        self.wall_offset_s = 0.0
        self.up = False
        self.connection = _copy(empty)
        self.epochs: dict[int, tuple[str, str]] = {}
        """Every epoch that was ever assigned, over all restored backups."""
        self.acknowledged: dict[AttemptKey, int] = {}
        self.verifying: set[AttemptKey] = set()
        self._life = 0
        self._retries = 0
        self._generation = 0
        self.overwritten: set[AttemptKey] = set()
        """Attempts with records that were acknowledged, but not in the backup that was restored."""
        self.discarded: set[AttemptKey] = set()
        """Attempts that a welcome directed the device to delete: it sends none of their records."""
        self._last_heard: dict[str, float] = {}
        self._reported_idle: set[str] = set()
        self._backup: Backup | None = None
        self._pending_evaluation: list[AttemptKey] = []

    # --- life ---

    def boot(self) -> None:
        """Start the process."""
        self._life += 1
        self.up = True
        self.context.note("controller starts")
        self.presence = Presence(int(LEASE_S * NS))
        self.streams: dict[str, tuple[Stream, int]] = {}
        self.connections: list[Stream] = []
        self.verifying.clear()
        self._reported_idle.clear()
        try:
            chosen = fencing.choose(
                epochs.generation(self.connection), self._generation, self.wall_ns() / NS
            )
            self._generation = chosen
            self.run(lambda c, _fx, _now: epochs.start_generation(c, "controller", chosen))
            for device in attempts.busy_devices(self.connection):
                self.presence.restore_lease(device, self.monotonic_ns())
                self._last_heard[device] = self.context.now_s
            for key in attempts.list_ready_for_evaluation(self.connection):
                self._verify(key)
        except ControllerKilled:
            return
        self._watch(self._life)

    def kill(self) -> None:
        """Kill the process, as SIGKILL does."""
        if not self.up:
            return
        self.context.note("controller killed")
        self.up = False
        self._life += 1
        for stream in self.connections:
            stream.sever(1.0)
        self.context.after(self.context.random.uniform(0.2, 12.0), self.boot)

    def back_up(self) -> None:
        """Copy the store while it runs."""
        self.context.note("backup made")
        self._backup = Backup(_copy(self.connection), dict(self.acknowledged), set(self.discarded))

    @property
    def has_backup(self) -> bool:
        """Return whether a backup was made."""
        return self._backup is not None

    def restore(self) -> None:
        """Kill the controller and put an older store in its place."""
        if self._backup is None:
            return
        self.kill()
        self.context.note("backup restored")
        then = self._backup
        self.overwritten |= {
            k for k, n in self.acknowledged.items() if n > then.acknowledged.get(k, 0)
        }
        self.overwritten |= self.discarded - then.discarded
        self.connection = _copy(then.store)
        self.acknowledged = dict(then.acknowledged)

    # --- clocks ---

    def monotonic_ns(self) -> int:
        """Return the clock of leases."""
        return int(self.context.now_s * NS)

    def wall_ns(self) -> int:
        """Return the stored and shown time; it may step."""
        return int((1_700_000_000 + self.context.now_s + self.wall_offset_s) * NS)

    # --- operations ---

    def run(self, operation: Callable[[sqlite3.Connection, Effects, int], T]) -> T:
        """Run a transaction, then apply its effects."""
        result, effects = self.run_transaction(operation)
        self.apply_effects(effects)
        return result

    def run_transaction(
        self, operation: Callable[[sqlite3.Connection, Effects, int], T]
    ) -> tuple[T, Effects]:
        """Run a transaction; a kill may come before or after its commit."""
        effects = Effects()
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            result = operation(self.connection, effects, self.wall_ns())
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        if self.context.chance(self.crash_rate):
            self.connection.execute("ROLLBACK")
            self.kill()
            raise ControllerKilled
        self.connection.execute("COMMIT")
        if self.context.chance(self.crash_rate):
            self.kill()
            raise ControllerKilled
        return result, effects

    def apply_effects(self, effects: Effects) -> None:
        """Send the messages, evaluate the runs, schedule."""
        messages: list[OfferEffect | StopEffect] = [*effects.stops, *effects.offers]
        for message in messages:
            device = message.key.device_id
            ref = m.AttemptRef(device, message.key.job_id, message.key.epoch, "")
            if isinstance(message, OfferEffect):
                self.presence.mark_busy(device)
                out: m.ControllerMessage = m.Offer(ref, message.order)
            else:
                out = m.Stop(ref, message.reason)
            if device in self.streams:
                self.streams[device][0].down(out)
        for key in effects.verify:
            self._verify(key)
        if effects.schedule:
            life = self._life
            self.context.after(0.002, lambda: self._assign(life))

    def submit(self, names: Sequence[str], count: int, max_attempts: int, pinned: bool) -> None:
        """Submit a campaign of `count` jobs for each device, or `count` for any of them."""
        groups = (
            [(name,) for name in names for _ in range(count)] if pinned else [tuple(names)] * count
        )
        new = [
            NewJob(
                f"job-{number}",
                f"configuration {number}",
                {
                    "scenario": "SingleStream",
                    "mode": "performance",
                    "profile": "quick",
                    "parameters": {},
                },
                f"key-{number}",
                1,
                0,
                60.0,
                iso(self.wall_ns() + DEADLINE_S * NS),
                max_attempts,
                tuple(JobOption(device, LOCK, 1, 1) for device in group),
            )
            for number, group in enumerate(groups, 1)
        ]
        campaign = NewCampaign(CAMPAIGN, "b", "", "quick", {})
        for _ in range(20):
            try:
                self.run(
                    lambda c, fx, now: campaigns.submit(
                        c, fx, now, campaign, new, {LOCK: LOCK_BYTES}
                    )
                )
            except ControllerKilled:
                self.boot()
                continue
            return

    def register(self, name: str) -> None:
        """Make a device known before its first hello, so that jobs can be pinned to it."""
        connection = self.connection
        connection.execute("BEGIN")
        devices.upsert(
            connection,
            self.wall_ns(),
            device_id=name,
            name=name,
            labels={},
            capabilities=self.facts,
            agent_version="0",
            boot_id="",
        )
        connection.execute("COMMIT")

    def cancel(self, job_id: str) -> None:
        """Cancel a job, as an operator does."""
        if self.up:
            self.context.note(f"{job_id} is cancelled by an operator")
            try:
                self.run(lambda c, fx, now: campaigns.cancel(c, fx, now, [job_id]))
            except ControllerKilled:
                return

    def drain(self, device: str) -> None:
        """Drain a device, as an operator does."""
        self._decide(lambda c, fx, now: device_admin.drain(c, now, device, "simulated"))

    def pause(self) -> None:
        """Pause the campaign, as an operator does."""
        self._decide(lambda c, fx, now: campaigns.set_paused(c, fx, now, CAMPAIGN, True))

    def retry(self, job_id: str) -> None:
        """Retry a job that ended without a result, as an operator does."""
        again = frozenset({JobState.FAILED, JobState.CANCELLED})
        self._retries += 1
        name = f"{job_id}-again-{self._retries}"  # the same in each replay
        self._decide(lambda c, fx, now: campaigns.retry(c, fx, now, [job_id], again, lambda: name))

    def release_holds(self, devices: Sequence[str]) -> None:
        """End all pauses and drains."""
        connection = self.connection
        connection.execute("BEGIN")
        effects = Effects()
        for device in devices:
            device_admin.resume(connection, self.wall_ns(), device, tuple(Hold))
        if stored_campaigns.exists(connection, CAMPAIGN):
            campaigns.set_paused(connection, effects, self.wall_ns(), CAMPAIGN, False)
        connection.execute("COMMIT")
        life = self._life
        self.context.after(0.01, lambda: self._assign(life))

    def _decide(self, operation: Callable[[sqlite3.Connection, Effects, int], object]) -> None:
        if self.up:
            try:
                self.run(operation)
            except ControllerKilled:
                return

    # --- the wire ---

    def accept(self, stream: Stream) -> bool:
        """Accept a device's stream; return False if the controller is down."""
        if not self.up:
            return False
        life = self._life
        self.connections.append(stream)
        state = {"session": 0}

        def on_message(message: m.AgentMessage) -> None:
            if life == self._life and self.up:
                try:
                    self._on_message(stream, state, message)
                except ControllerKilled:
                    return

        def closed() -> None:
            if life == self._life and state["session"]:
                if self.streams.get(stream.device, (None, 0))[0] is stream:
                    del self.streams[stream.device]
                self.presence.disconnected(stream.device, state["session"])

        stream.on_controller, stream.closed_at_controller = on_message, closed
        return True

    def append(
        self, device: str, key: attempt_key.LocalAttemptKey, batch: Sequence[Record]
    ) -> int | None:
        """Handle Results.Append; return None if the call fails."""
        if not self.up:
            return None
        whole = AttemptKey(device, key.job_id, key.epoch)
        if self.acknowledge_before_commit:
            self.acknowledged[whole] = max(
                self.acknowledged.get(whole, 0), max((r.seq for r in batch), default=0)
            )
        try:
            through = self.run(lambda c, fx, now: results.append(c, fx, now, whole, batch))
        except ControllerKilled:
            return max(r.seq for r in batch) if self.acknowledge_before_commit else None
        except FleetmarkError:
            return None
        self.acknowledged[whole] = max(self.acknowledged.get(whole, 0), through)
        return through

    def _on_message(self, stream: Stream, state: dict[str, int], message: m.AgentMessage) -> None:
        device = stream.device
        if isinstance(message, m.Hello):
            self._last_heard[device] = self.context.now_s
            self._hello(stream, state, message)
            return
        if not self.presence.current(device, state["session"]):
            return
        self._last_heard[device] = self.context.now_s
        self.presence.alive(device, state["session"], self.monotonic_ns())
        if isinstance(message, m.Heartbeat):
            self._note_idle(device, message.idle)
            if self.presence.heartbeat(device, state["session"], message.idle, self.monotonic_ns()):
                life = self._life
                self.context.after(0.001, lambda: self._assign(life))
            stream.down(m.HeartbeatAck(message.sequence))
        elif isinstance(message, m.AttemptReport):
            report = _report(device, message)
            self.run(lambda c, fx, now: sessions.report(c, fx, now, report))

    def _hello(self, stream: Stream, state: dict[str, int], output: m.Hello) -> None:
        device = output.device_id
        hello = sessions.DeviceHello(
            device,
            output.name,
            output.labels,
            output.capabilities,
            output.agent_version,
            output.boot_id,
            output.highest_epoch,
            output.idle,
            tuple(_report(device, report) for report in output.attempts),
            output.locks,
        )
        # Here every order is the controller's own: none of its messages is forged.
        answers, effects = self.run_transaction(
            lambda c, fx, now: sessions.hello(c, fx, now, hello, OrderVerifier(lambda it: it))
        )
        verdicts = tuple(
            m.AttemptDirective(
                m.AttemptRef(device, a.key.job_id, a.key.epoch, output.boot_id),
                not a.keep,
                a.reason,
            )
            for a in answers
        )
        self.discarded |= {a.key for a in answers if not a.keep}
        stream.down(m.Welcome(1, "0", "controller", 1.0, 0.5, LEASE_S, 0, (), verdicts))
        state["session"] = self.presence.connected(
            device, output.boot_id, output.idle, self.monotonic_ns()
        )
        self._note_idle(device, output.idle)
        self.streams[device] = (stream, state["session"])
        self.apply_effects(effects)

    def _note_idle(self, device: str, idle: bool) -> None:
        if idle:
            self._reported_idle.add(device)
        else:
            self._reported_idle.discard(device)

    # --- what a controller does by itself ---

    def _assign(self, life: int) -> None:
        if life != self._life or not self.up:
            return
        seen = self.presence.seen(self.monotonic_ns())
        if not any(item.idle for item in seen.values()):
            return
        try:
            _, effects = self.run_transaction(
                lambda c, fx, now: dispatch.dispatch_jobs(c, fx, now, seen, SCHEDULER)
            )
        except ControllerKilled:
            return
        for offer in effects.offers:
            self._check_assignment(offer.key)
        self.apply_effects(effects)

    def _check_assignment(self, key: AttemptKey) -> None:
        self.context.note(f"controller: {key.job_id} → {key.device_id}, epoch {key.epoch}")
        if key.epoch in self.epochs:
            raise Violation(f"epoch {key.epoch} was given out before: {self.epochs[key.epoch]}")
        self.epochs[key.epoch] = (key.job_id, key.device_id)
        if key.device_id not in self._reported_idle:
            raise Violation(f"{key.device_id} got work before it reported idle")
        self._reported_idle.discard(key.device_id)

    def _watch(self, life: int) -> None:
        if life != self._life or not self.up:
            return
        try:
            for device in self.presence.expire(self.monotonic_ns()):
                silent_s = self.context.now_s - self._last_heard.get(device, 0.0)
                if silent_s < LEASE_S - 0.001:
                    raise Violation(f"{device} was given up after {silent_s:.1f} s of silence")
                self.context.note(f"controller: lease of {device} runs out")
                self.run(lambda c, fx, now, d=device: sessions.lease_expired(c, fx, now, d))
            self.run(campaigns.end_overdue)
        except ControllerKilled:
            return
        self.context.after(0.5, lambda: self._watch(life))

    def _verify(self, key: AttemptKey) -> None:
        if key in self.verifying:
            return
        self.verifying.add(key)
        life = self._life
        self.context.after(
            self.context.random.uniform(0.05, 2.0), lambda: self._evaluate(life, key)
        )

    def _evaluate(self, life: int, key: AttemptKey) -> None:
        if life != self._life or not self.up:
            return
        final = parse_sealed(records.list_for_attempt(self.connection, key))
        if final.outcome == COMPLETED:
            evaluation = Evaluation(
                AttemptOutcome.VALID, "", False, _run_values(key, self.wall_ns())
            )
        else:
            cause = cause_of_final(
                final.outcome, final.exit_code, final.retryable, final.provenance.get("failure")
            )
            evaluation = Evaluation(
                AttemptOutcome.FAILED, "it failed", final.retryable, cause=cause
            )
        run_id = f"run-{key.job_id}-{key.epoch}-{self.context.random.random()}"
        try:
            self.run(lambda c, fx, now: results.finalise(c, fx, now, key, run_id, evaluation))
        except ControllerKilled:
            return
        self.verifying.discard(key)


def _report(device: str, message: m.AttemptReport) -> sessions.DeviceReport:
    key, state, reason, retryable = report_of(message)
    return sessions.DeviceReport(
        AttemptKey(device, key.job_id, key.epoch),
        AttemptState(state),
        reason,
        retryable,
        message.signed_order,
        message.cause,
    )


def _run_values(key: AttemptKey, now_ns: int) -> dict[str, object]:
    return {
        "device": key.device_id,
        "arch": "x86_64",
        "os": "Debian",
        "benchmark": "b",
        "scenario": "SingleStream",
        "mode": "performance",
        "profile": "quick",
        "parameters": {},
        "condition_reasons": [],
        "submittable": False,
        "lock_sha256": LOCK,
        "provenance": {},
        "stored_at": str(now_ns),
    }


def _copy(source: sqlite3.Connection) -> sqlite3.Connection:
    target = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    source.backup(target)
    target.row_factory = sqlite3.Row
    target.execute("PRAGMA foreign_keys = ON")
    return target
