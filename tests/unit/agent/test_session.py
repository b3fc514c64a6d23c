"""The pure session: each rule by itself, then any sequence of events."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from fleetmark_agent.session import events as h
from fleetmark_agent.session.machine import AgentIdentity, Session
from fleetmark_agent.session.messages import (
    AttemptDirective,
    AttemptRef,
    AttemptReport,
    Bye,
    Heartbeat,
    Hello,
    Offer,
    Progress,
    ReportedState,
    Stop,
    Welcome,
)
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.ledger import AttemptStatus, Ledger, LedgerEntry
from fleetmark_core.capabilities import Board, Capabilities, Cpu, Memory, Os, Storage
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.order import Order
from tests.support.examples import examples

FACTS = Capabilities(
    os=Os("linux", "Debian", "12", "6.1"),
    arch="x86_64",
    board=Board(),
    cpu=Cpu(2, 2),
    memory=Memory(1, 0),
    storage=Storage(1, 1),
)
IDENTITY = AgentIdentity("device", "boot", "board", "0", FACTS)


def ref(epoch: int, job: str = "") -> AttemptRef:
    return AttemptRef("device", job or f"job-{epoch}", epoch, "boot")


def offer(epoch: int, job: str = "", **changes: Any) -> Offer:
    order = Order(
        1, "device", "c", job or f"job-{epoch}", epoch, "0" * 64, 1, 1, "S", "p", "q", 9.0
    )
    return Offer(ref(epoch, job), dataclasses.replace(order, **changes).canonical())


def welcome(*verdicts: AttemptDirective, **changes: Any) -> Welcome:
    values = {"heartbeat_idle_s": 15.0, "heartbeat_running_s": 5.0, "lease_s": 30.0, **changes}
    return Welcome(1, "0", "controller", verdicts=verdicts, **values)


EMPTY = Ledger()


class FakeShell:
    """Performs what a session wants, in the simplest way, and remembers it."""

    def __init__(self, ledger: Ledger = EMPTY, free: bool = True, **spooled: int) -> None:
        self.now = 100.0
        self.disk = ledger
        self.disk_full = False
        keys = {e.key: spooled.get(e.key.job_id.replace("-", "_"), 0) for e in ledger.entries}
        self.session = Session(IDENTITY, ledger, device_free=free, spooled=keys)
        self.sent: list[Any] = []
        self.others: list[Any] = self.session.start()

    def handle_event(self, *events: Any) -> list[Any]:
        """What is said and done in answer, without what was said and done before."""
        output, done = len(self.sent), len(self.others)
        queue = list(events)
        while queue:
            for action in self.session.handle(queue.pop(0), self.now):
                if isinstance(action, h.Send):
                    self.sent.append(action.message)
                elif isinstance(action, h.Persist):
                    if self.disk_full:
                        queue.append(h.PersistFailed(action.number, "No space left on device"))
                    else:
                        self.disk = action.ledger
                        queue.append(h.Persisted(action.number))
                else:
                    self.others.append(action)
        return [*self.sent[output:], *self.others[done:]]

    def receive(self, *messages: Any) -> list[Any]:
        return self.handle_event(*(h.MessageReceived(message) for message in messages))

    def connect(self, *verdicts: AttemptDirective, **changes: Any) -> Hello:
        self.handle_event(h.StreamOpened())
        hello = self.sent[-1]
        self.receive(welcome(*verdicts, **changes))
        assert isinstance(hello, Hello)
        return hello

    def run(self, epoch: int) -> LocalAttemptKey:
        self.receive(offer(epoch))
        self.handle_event(h.JobRunning(ref(epoch).key))
        return ref(epoch).key

    def tick(self, seconds: float) -> list[Any]:
        self.now += seconds
        return self.handle_event(h.TimerFired())


def states(actions: Sequence[Any]) -> list[ReportedState]:
    return [action.state for action in actions if isinstance(action, AttemptReport)]


def entry(epoch: int, standing: AttemptStatus) -> LedgerEntry:
    return LedgerEntry(ref(epoch).key, standing, offer(epoch).order)


def test_an_offer_is_durable_before_it_is_reported_and_started() -> None:
    device = FakeShell()
    device.connect()
    (persist,) = device.session.handle(h.MessageReceived(offer(7)), device.now)
    assert persist.ledger.entries[0].key == ref(7).key
    assert persist.ledger.highest_epoch == 7
    output = device.session.handle(h.Persisted(persist.number), device.now)
    assert (
        states([a.message for a in output if isinstance(a, h.Send)])[0] is ReportedState.PREPARING
    )
    assert [a for a in output if isinstance(a, h.StartJob)] == [
        h.StartJob(ref(7).key, offer(7).order)
    ]


def test_a_hello_between_offer_and_durability_hides_the_offer_whole() -> None:
    device = FakeShell()
    device.connect()
    device.session.handle(h.MessageReceived(offer(7)), device.now)
    device.session.handle(h.StreamClosed(), device.now)
    (send,) = device.session.handle(h.StreamOpened(), device.now)
    assert send.message.attempts == ()
    assert send.message.highest_epoch == 6


def test_a_full_disk_refuses_the_offer_and_says_why() -> None:
    device = FakeShell()
    device.connect()
    device.disk_full = True
    actions = device.receive(offer(7))
    assert states(actions) == [ReportedState.REFUSED]
    assert "No space left" in actions[0].reason and actions[0].retryable
    assert not device.others
    device.disk_full = False
    device.tick(10)
    assert device.disk.highest_epoch == 7


def test_the_same_offer_again_is_answered_with_the_state() -> None:
    device = FakeShell()
    device.connect()
    device.run(7)
    assert states(device.receive(offer(7))) == [ReportedState.RUNNING]
    assert len([a for a in device.others if isinstance(a, h.StartJob)]) == 1


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (offer(3), "not above 5"),
        (offer(5), "not above 5"),
        (offer(6, lock_sha256="x"), "the lockfile's digest"),
        (Offer(ref(6), offer(7, "job-6").order), "another attempt"),
        (Offer(ref(6), b"no json"), "not JSON"),
        (Offer(dataclasses.replace(ref(6), device_id="other"), b""), "another device"),
    ],
)
def test_what_cannot_be_accepted_is_refused_with_a_reason(bad: Offer, words: str) -> None:
    device = FakeShell(Ledger(5))
    device.connect()
    actions = device.receive(bad)
    assert states(actions) == [ReportedState.REFUSED]
    assert words in actions[0].reason
    assert not device.others
    # Held until the controller has it.
    device.receive(Stop(bad.attempt, "recorded"))
    assert not device.session.held


def test_names_that_could_be_paths_are_dropped() -> None:
    device = FakeShell()
    device.connect()
    for job in ("../x", "", "a/b", "x" * 65, "a.b"):
        assert device.receive(Offer(AttemptRef("device", job, 9, "boot"), b"")) == []
    assert device.receive(Offer(AttemptRef("device", "job", 0, "boot"), b"")) == []
    assert not device.session.held


@pytest.mark.parametrize("why", ["running", "locked", "spool", "leaving"])
def test_only_an_idle_device_accepts(why: str) -> None:
    device = FakeShell(free=why != "locked")
    device.connect()
    if why == "running":
        device.run(1)
    if why == "spool":
        device.handle_event(h.AdmissionChanged("results wait"))
    if why == "leaving":
        device.run(1)
        device.handle_event(h.ShutdownRequested("asked"))
    before = list(device.others)
    actions = device.receive(offer(2))
    assert states(actions) == [ReportedState.REFUSED]
    assert actions[0].retryable and actions[0].reason
    assert [a for a in device.others if a not in before] == []


def test_an_uploading_attempt_does_not_block_the_next() -> None:
    device = FakeShell()
    device.connect()
    first = device.run(1)
    device.handle_event(h.JobEnded(first, 4))
    assert ReportedState.PREPARING in states(device.receive(offer(2)))


def test_lost_contact_changes_nothing() -> None:
    device = FakeShell()
    device.connect()
    key = device.run(1)
    assert device.handle_event(h.StreamClosed("cut")) == []
    assert device.session.next_tick() is None
    device.handle_event(h.JobEnded(key, 3))
    hello = device.connect()
    assert states(hello.attempts) == [ReportedState.UPLOADING]
    assert hello.idle


def test_records_go_up_in_order_and_the_attempt_is_forgotten_after_the_last() -> None:
    device = FakeShell()
    device.connect()
    key = device.run(1)
    (upload,) = [a for a in device.handle_event(h.JobEnded(key, 5)) if isinstance(a, h.Upload)]
    assert upload.after_seq == 0
    actions = device.handle_event(h.UploadDone(key, 3, 1 << 20))
    assert actions == [h.Acknowledge(key, 3), h.Upload(key, 3, 1 << 20)]
    assert key in device.session.held
    actions = device.handle_event(h.UploadDone(key, 5, 1 << 20))
    assert actions == [h.Acknowledge(key, 5), h.DeleteLargeFiles(key), h.DeleteAttempt(key)]
    assert device.disk.entries == () and device.disk.highest_epoch == 1


def test_a_controller_that_went_back_gets_its_records_again() -> None:
    device = FakeShell()
    device.connect()
    key = device.run(1)
    device.handle_event(h.JobEnded(key, 5), h.UploadDone(key, 3, 1 << 20))
    device.handle_event(h.UploadDone(key, 1, 1 << 20))
    (upload,) = [a for a in device.tick(1) if isinstance(a, h.Upload)]
    assert upload.after_seq == 1


def test_an_acknowledgment_beyond_the_end_is_capped() -> None:
    device = FakeShell()
    device.connect()
    key = device.run(1)
    device.handle_event(h.JobEnded(key, 5))
    actions = device.handle_event(h.UploadDone(key, 1 << 60, 0))
    assert h.Acknowledge(key, 5) in actions


def test_without_credit_only_the_credit_is_asked_for() -> None:
    device = FakeShell()
    device.connect()
    key = device.run(1)
    device.handle_event(h.JobEnded(key, 5))
    device.handle_event(h.UploadDone(key, 2, 0))
    assert device.others[-1] == h.Upload(key, 2, 0)
    assert device.handle_event(h.UploadDone(key, 2, 0, nothing_sent=True)) == []
    assert h.Upload(key, 2, 0) in device.tick(2)
    assert h.Upload(key, 2, 5000) in device.handle_event(
        h.UploadDone(key, 2, 5000, nothing_sent=True)
    )


def test_failed_uploads_are_tried_again_ever_more_slowly() -> None:
    device = FakeShell()
    device.connect(lease_s=1e9)
    key = device.run(1)
    device.handle_event(h.JobEnded(key, 5))
    waits = []
    for _ in range(9):
        device.handle_event(h.UploadFailed(key, "no"))
        before = device.now
        while not any(isinstance(a, h.Upload) for a in device.tick(0.25)):
            pass
        waits.append(device.now - before)
    assert waits == sorted(waits) and waits[0] <= 0.5 and waits[-1] == 30


def test_nothing_is_uploaded_while_a_job_measures() -> None:
    device = FakeShell()
    device.connect()
    first = device.run(1)
    device.handle_event(h.JobEnded(first, 2), h.UploadFailed(first, "no"))
    second = device.run(2)
    assert not [a for a in device.tick(100) if isinstance(a, h.Upload)]
    device.handle_event(h.StreamClosed())
    device.connect()
    assert [a for a in device.handle_event(h.JobEnded(second, 2)) if isinstance(a, h.Upload)] == [
        h.Upload(first, 0, 1 << 20)
    ]


def test_stop_kills_then_reports_then_forgets() -> None:
    device = FakeShell()
    device.connect()
    key = device.run(1)
    assert device.receive(Stop(ref(1), "cancelled")) == [h.StopJob(key, "cancelled")]
    assert device.receive(Stop(ref(1), "cancelled")) == []
    actions = device.handle_event(h.JobStopped(key))
    assert states(actions) == [ReportedState.ABORTED]
    assert actions[0].reason == "cancelled"
    assert any(isinstance(a, Heartbeat) and a.idle for a in actions)
    assert device.disk.entries[0].standing is AttemptStatus.ABORTED
    assert device.receive(Stop(ref(1), "recorded")) == [
        h.DeleteLargeFiles(key),
        h.DeleteAttempt(key),
    ]


def test_what_ended_before_a_stop_could_stop_it_is_handed_over() -> None:
    device = FakeShell()
    device.connect()
    key = device.run(1)
    device.receive(Stop(ref(1)))
    assert states(device.handle_event(h.JobEnded(key, 3))) == [ReportedState.UPLOADING]
    assert device.receive(Stop(ref(1))) == []


def test_a_verdict_that_crossed_the_end_of_the_job_comes_too_late() -> None:
    device = FakeShell()
    device.connect()
    key = device.run(1)
    device.handle_event(h.StreamClosed(), h.StreamOpened(), h.JobEnded(key, 3))
    device.receive(welcome(AttemptDirective(ref(1), stop=True)))
    assert key in device.session.held
    assert device.session.held[key].state is ReportedState.UPLOADING


def test_stop_of_what_never_arrived_is_answered_once_and_remembered() -> None:
    device = FakeShell()
    device.connect()
    assert states(device.receive(Stop(ref(4)))) == [ReportedState.ABORTED]
    device.receive(Stop(ref(4), "recorded"))
    assert not device.session.held
    assert device.receive(Stop(ref(4))) == []
    assert states(device.receive(offer(4))) == [ReportedState.REFUSED]


def test_verdicts_of_a_welcome_stop_and_forget() -> None:
    ledger = Ledger(
        9,
        (
            entry(1, AttemptStatus.ENDED),
            entry(2, AttemptStatus.REFUSED),
            entry(3, AttemptStatus.ENDED),
        ),
    )
    device = FakeShell(ledger, job_1=3, job_3=3)
    hello = device.connect(
        AttemptDirective(ref(1), True, "done"),
        AttemptDirective(ref(2), True),
        AttemptDirective(ref(3), False),
    )
    assert states(hello.attempts) == [
        ReportedState.UPLOADING,
        ReportedState.REFUSED,
        ReportedState.UPLOADING,
    ]
    assert hello.highest_epoch == 9
    assert h.DeleteAttempt(ref(2).key) in device.others
    assert device.session.held[ref(1).key].state is ReportedState.ABORTED
    assert h.Upload(ref(3).key, 0, 1 << 20) in device.others


def test_a_restarted_agent_goes_on_with_what_it_accepted() -> None:
    device = FakeShell(Ledger(2, (entry(2, AttemptStatus.ACCEPTED),)), free=False)
    assert device.others == [h.StartJob(ref(2).key, offer(2).order)]
    hello = device.connect()
    assert not hello.idle and states(hello.attempts) == [ReportedState.PREPARING]


def test_heartbeats_come_at_the_intervals_of_the_welcome() -> None:
    device = FakeShell()
    device.connect(heartbeat_idle_s=15.0, heartbeat_running_s=5.0)
    assert device.session.next_tick() == device.now + 15
    device.run(1)
    assert device.session.next_tick() == device.now + 5
    (beat,) = device.tick(5)
    assert isinstance(beat, Heartbeat) and not beat.idle
    device.handle_event(h.JobProgressed(ref(1).key, Progress("run", 3, 9)))
    (beat,) = device.tick(5)
    assert beat.attempts[0].progress == Progress("run", 3, 9)


def test_a_silent_controller_is_dialled_again() -> None:
    device = FakeShell()
    device.connect(heartbeat_idle_s=1.0, lease_s=4.0)
    for _ in range(3):
        assert not any(isinstance(a, h.Reconnect) for a in device.tick(1))
    assert isinstance(device.tick(1)[-1], h.Reconnect)
    assert device.receive(offer(1)) == []


def test_a_controller_that_never_answers_the_hello_is_dialled_again() -> None:
    device = FakeShell()
    device.handle_event(h.StreamOpened())
    assert device.receive(offer(1)) == []
    assert any(isinstance(a, h.Reconnect) for a in device.tick(100))


def test_a_bye_and_a_strange_protocol_end_the_stream() -> None:
    device = FakeShell()
    device.connect()
    assert device.receive(Bye("restart", 3.0))[-1] == h.Reconnect(
        "the controller closed the session: restart", 3.0
    )
    device.handle_event(h.StreamClosed(), h.StreamOpened())
    (action,) = device.receive(dataclasses.replace(welcome(), protocol=9))
    assert isinstance(action, h.Reconnect) and "protocol 9" in action.reason


def test_shutdown_hands_the_job_back_and_sends_goodbye() -> None:
    device = FakeShell()
    device.connect()
    key = device.run(1)
    assert device.handle_event(h.ShutdownRequested("asked")) == [h.StopJob(key, "asked")]
    actions = device.handle_event(h.JobStopped(key))
    assert states(actions) == [ReportedState.ABORTED] and actions[0].retryable
    actions = device.receive(Stop(ref(1), "recorded"))
    assert actions[0] == Bye("asked") and h.Quit() in actions


def test_shutdown_has_a_time_limit() -> None:
    device = FakeShell()
    device.connect()
    device.run(1)
    device.handle_event(h.ShutdownRequested("asked"))
    assert h.Quit() in device.tick(60)
    idle = FakeShell()
    assert idle.handle_event(h.ShutdownRequested("asked")) == [h.Quit()]


class AnyOrder(RuleBasedStateMachine):
    """Events in any order, with crashes that keep what is durable."""

    @initialize()
    def begin(self) -> None:
        self.device = FakeShell()
        self.jobs: dict[LocalAttemptKey, str] = {}
        self.spool: dict[LocalAttemptKey, int] = {}
        self.stored: dict[LocalAttemptKey, int] = {}
        self.stopped: set[LocalAttemptKey] = set()
        self.forgotten: set[LocalAttemptKey] = set()
        self.ever_started: dict[LocalAttemptKey, int] = {}
        self.given_up_output: set[LocalAttemptKey] = set()
        self.epoch = 0
        self.seen = [0, 0]

    def settle(self) -> None:
        """Read what the session has done since the last time, and check it."""
        for message in self.device.sent[self.seen[0] :]:
            reports = getattr(message, "attempts", None) or (
                [message] if isinstance(message, AttemptReport) else []
            )
            for report in reports:
                durable = {e.key for e in self.device.disk.entries}
                if report.state is not ReportedState.REFUSED:
                    assert report.attempt.key in durable | {h.key for h in self.leaving()}
                if report.state in (ReportedState.REFUSED, ReportedState.ABORTED):
                    self.given_up_output.add(report.attempt.key)
        for action in self.device.others[self.seen[1] :]:
            if isinstance(action, h.StartJob):
                assert not self.jobs, "two jobs at a time"
                # With its records in the spool, going on means to tell that it has ended.
                done = action.key in self.spool
                self.jobs[action.key] = "collected" if done else "preparing"
                self.ever_started[action.key] = self.ever_started.get(action.key, 0) + 1
            elif isinstance(action, h.StopJob):
                assert action.key in self.jobs
                self.stopped.add(action.key)
            elif isinstance(action, h.DeleteAttempt):
                assert action.key not in self.jobs, "forgot a running job"
                whole = self.stored.get(action.key, -1) >= self.spool.get(action.key, 0)
                assert whole or action.key in self.given_up_output
                assert action.key not in {e.key for e in self.device.disk.entries}
                self.forgotten.add(action.key)
            elif isinstance(action, h.Upload):
                assert "running" not in self.jobs.values()
                self.uploading = action
        self.seen = [len(self.device.sent), len(self.device.others)]

    def leaving(self) -> list[Any]:
        return list(self.device.session.held.values())

    def handle_event(self, *events: Any) -> None:
        self.device.handle_event(*events)
        self.settle()

    @rule()
    def connect(self) -> None:
        self.handle_event(h.StreamOpened())
        self.handle_event(h.MessageReceived(welcome()))

    @rule()
    def cut(self) -> None:
        self.handle_event(h.StreamClosed())

    @rule(back=st.integers(-2, 3))
    def offer(self, back: int) -> None:
        self.epoch = max(1, self.epoch + back)
        self.handle_event(h.MessageReceived(offer(self.epoch)))

    @rule(data=st.data())
    def stop(self, data: Any) -> None:
        epoch = data.draw(st.integers(1, self.epoch + 1))
        self.handle_event(h.MessageReceived(Stop(ref(epoch))))

    @rule(full=st.booleans())
    def disk(self, full: bool) -> None:
        self.device.disk_full = full

    @precondition(lambda self: self.jobs)
    @rule(
        how=st.sampled_from(["running", "ended", "refused", "stopped"]), records=st.integers(1, 5)
    )
    def job(self, how: str, records: int) -> None:
        ((key, state),) = self.jobs.items()
        if state == "collected":
            how, records = "ended", self.spool[key]
        if how == "running":
            self.jobs[key] = "running"
            self.handle_event(h.JobRunning(key))
            return
        if (how == "refused" and state == "running") or (
            how == "stopped" and key not in self.stopped
        ):
            return
        del self.jobs[key]
        if how == "ended":
            self.spool[key] = records
            self.handle_event(h.JobEnded(key, records))
        elif how == "refused":
            self.handle_event(h.JobRefused(key, "no", False, FailureCause.DEVICE))
        else:
            self.handle_event(h.JobStopped(key))

    uploading: Any = None

    @precondition(lambda self: self.uploading is not None)
    @rule(arrived=st.integers(-1, 3), credit=st.sampled_from([0, 10, 1 << 20]))
    def upload(self, arrived: int, credit: int) -> None:
        action, self.uploading = self.uploading, None
        if arrived < 0:
            self.handle_event(h.UploadFailed(action.key, "no"))
            return
        last = self.spool.get(action.key, 0)
        through = self.stored.get(action.key, 0)
        if action.max_bytes and action.after_seq <= through:
            through = max(through, min(last, action.after_seq + arrived))
        self.stored[action.key] = through
        self.handle_event(
            h.UploadDone(action.key, through, credit, nothing_sent=not action.max_bytes)
        )

    @rule(seconds=st.sampled_from([0.1, 3.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.device.now += seconds
        self.handle_event(h.TimerFired())

    @rule()
    def crash(self) -> None:
        """The agent's memory is gone; its ledger, its spool and its job are not."""
        before = self.device.disk
        now, full = self.device.now, self.device.disk_full
        self.device = FakeShell(before)
        self.device.now, self.device.disk_full = now, full
        spooled = {e.key: self.spool.get(e.key, 0) for e in before.entries}
        self.device.session = Session(IDENTITY, before, device_free=not self.jobs, spooled=spooled)
        self.device.others = self.device.session.start()
        resumed = {a.key for a in self.device.others if isinstance(a, h.StartJob)}
        running = dict(self.jobs)
        # What was not in the ledger was never started; what runs, is taken up.
        assert set(running) <= resumed or not running
        self.jobs, self.stopped, self.uploading, self.seen = {}, set(), None, [0, 0]
        self.settle()
        for key, state in running.items():
            if state == "running":
                self.jobs[key] = "running"
                self.handle_event(h.JobRunning(key))

    @invariant()
    def one_job(self) -> None:
        if not hasattr(self, "jobs"):
            return
        unfinished = [
            held
            for held in self.device.session.held.values()
            if held.state in (ReportedState.PREPARING, ReportedState.RUNNING)
        ]
        assert len(unfinished) <= 1
        assert self.device.session.idle == (self.device.session.device_free and not unfinished)

    @invariant()
    def nothing_owed_is_forgotten(self) -> None:
        if not hasattr(self, "jobs"):
            return
        for key, last in self.spool.items():
            owed = self.stored.get(key, 0) < last
            if owed and key not in self.given_up_output:
                assert key in self.device.session.held
                assert key in {e.key for e in self.device.disk.entries}

    @invariant()
    def epochs_never_go_back(self) -> None:
        if hasattr(self, "jobs"):
            assert all(key.epoch <= self.device.disk.highest_epoch for key in self.ever_started)


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = hypothesis_settings(
    max_examples=examples(100), stateful_step_count=40, deadline=None
)
