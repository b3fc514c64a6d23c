"""What devices say: hello, capabilities, reports about attempts; and what silence means."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from fleetmark_controller.lifecycle.retry_policy import Ending
from fleetmark_controller.lifecycle.states import (
    ATTEMPT_TERMINAL,
    JOB_TERMINAL,
    AttemptState,
    JobState,
    following,
)
from fleetmark_controller.operations.attempt_end import end_attempt
from fleetmark_controller.operations.effects import Effects, OfferEffect, StopEffect
from fleetmark_controller.operations.recovery import NOBODY, Papers, Vouching, adopt
from fleetmark_controller.store import epochs, events
from fleetmark_controller.store.devices import devices
from fleetmark_controller.store.jobs import attempts, jobs, scheduler_view
from fleetmark_controller.store.jobs.attempts import Attempt, AttemptKey
from fleetmark_core.capabilities import Capabilities


@dataclass(frozen=True)
class Report:
    """What a device says of an attempt that it holds."""

    key: AttemptKey
    state: AttemptState
    reason: str = ""
    retryable: bool = False
    signed_order: bytes = b""
    """Of a hello: what was ordered, in its envelope. Not believed."""


@dataclass(frozen=True)
class Hello:
    """How a device introduces itself."""

    device_id: str
    name: str
    labels: dict[str, str]
    capabilities: Capabilities
    agent_version: str
    boot_id: str
    highest_epoch: int
    idle: bool
    attempts: tuple[Report, ...] = ()
    locks: tuple[bytes, ...] = ()
    """Those that the signed orders name. Not believed."""

    def without_papers(self) -> Hello:
        """The same without what only the agreement on attempts needs, and is large."""
        if not self.attempts and not self.locks:
            return self
        reports = tuple(replace(report, signed_order=b"") for report in self.attempts)
        return replace(self, attempts=reports, locks=())


@dataclass(frozen=True)
class Answer:
    """CONTINUE (keep going) or STOP for one attempt named in a hello."""

    key: AttemptKey
    keep: bool
    reason: str


def hello(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    said: Hello,
    vouching: Vouching = NOBODY,
) -> list[Answer]:
    """Register the device and agree with it on every attempt that either side knows of.

    `vouching` tells orders of this controller from what a device made up.
    """
    new = devices.upsert(
        connection,
        now_ns,
        device_id=said.device_id,
        name=said.name,
        labels=said.labels,
        capabilities=said.capabilities,
        agent_version=said.agent_version,
        boot_id=said.boot_id,
    )
    events.add_from_device(
        connection,
        now_ns,
        "device.registered" if new else "device.connected",
        device_id=said.device_id,
        boot_id=said.boot_id,
    )
    if epochs.saw_epoch(connection, said.highest_epoch):
        events.add_from_device(
            connection,
            now_ns,
            "alarm.generation",
            device_id=said.device_id,
            epoch=said.highest_epoch,
        )
    papers = Papers(said.locks, vouching)
    answers = [_answer(connection, effects, now_ns, each, papers) for each in said.attempts]
    if not new:
        _settle(connection, effects, now_ns, said)
    effects.schedule = True
    return answers


def _settle(connection: sqlite3.Connection, effects: Effects, now_ns: int, said: Hello) -> None:
    """What becomes of attempts that the store knows and the device does not name."""
    held = {(report.key.job_id, report.key.epoch) for report in said.attempts}
    for attempt in attempts.on_device(connection, said.device_id):
        if (attempt.key.job_id, attempt.key.epoch) in held:
            continue
        if attempt.state is AttemptState.OFFERED and attempt.key.epoch > said.highest_epoch:
            # The offer was lost, or its reply: the same epoch goes out again.
            effects.offers.append(OfferEffect(attempt.key, attempt.order))
        else:
            end_attempt(connection, effects, now_ns, attempt, Ending.GONE, _WITHOUT_IT)
    for job_id, epoch in jobs.hopeless(connection, said.device_id):
        # It waited for the result of its last, lost try; now it is known that none will come.
        lost = attempts.get(connection, AttemptKey(said.device_id, job_id, epoch))
        if lost is not None and (job_id, epoch) not in held:
            end_attempt(connection, effects, now_ns, lost, Ending.GONE, _WITHOUT_IT)


def report(connection: sqlite3.Connection, effects: Effects, now_ns: int, said: Report) -> None:
    """A device tells a new state of an attempt. Stale and repeated reports change nothing."""
    attempt = attempts.get(connection, said.key)
    if attempt is None:
        effects.stops.append(StopEffect(said.key, "unknown to this controller"))
        return
    if said.state in (AttemptState.REFUSED, AttemptState.ABORTED):
        if attempt.state not in ATTEMPT_TERMINAL and attempt.state is not AttemptState.VERIFYING:
            ending = Ending.REFUSED if said.state is AttemptState.REFUSED else Ending.ABORTED
            end_attempt(connection, effects, now_ns, attempt, ending, said.reason, said.retryable)
        effects.stops.append(StopEffect(said.key, "recorded"))
        return
    _advance(connection, effects, now_ns, attempt, said.state)


def capabilities_changed(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    device_id: str,
    facts: Capabilities,
) -> None:
    """A device found something new about itself."""
    del effects  # nothing follows: jobs that wait were resolved when they were submitted
    devices.set_capabilities(connection, now_ns, device_id, facts)
    events.add_from_device(connection, now_ns, "device.capabilities", device_id=device_id)


def lease_expired(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    device_id: str,
    reason: str = "no contact with the device for a lease",
) -> None:
    """Nothing is heard from a device any more: its attempts are lost."""
    events.add(connection, now_ns, "device.offline", device_id=device_id)
    for attempt in attempts.on_device(connection, device_id):
        end_attempt(
            connection,
            effects,
            now_ns,
            attempt,
            Ending.LOST,
            reason,
        )


def _advance(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    attempt: Attempt,
    state: AttemptState,
) -> None:
    if state in following(attempt.state) and state in _REPORTABLE:
        attempts.transition(connection, now_ns, attempt, state, "")
        if state is not AttemptState.PREPARING:
            scheduler_view.was_sent(connection, now_ns, attempt.key.device_id, attempt.key.job_id)
        effects.jobs.add(attempt.key.job_id)


def _answer(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    said: Report,
    papers: Papers,
) -> Answer:
    given_up = said.state in (AttemptState.REFUSED, AttemptState.ABORTED)
    attempt = attempts.get(connection, said.key)
    if attempt is None:
        # What the board has given up brings no result: it is worth no job of its own.
        envelope = b"" if given_up else said.signed_order
        attempt = adopt(connection, effects, now_ns, said.key, papers, envelope)
    if attempt is None:
        return Answer(said.key, False, "unknown to this controller")
    if given_up:
        report(connection, Effects(jobs=effects.jobs), now_ns, said)
        return Answer(said.key, False, "recorded")
    if attempt.verified or attempt.state in (AttemptState.REFUSED, AttemptState.ABORTED):
        return Answer(said.key, False, "recorded")
    if said.state is AttemptState.UPLOADING:
        # It is finished: whatever became of its job, the result is stored, official or late.
        _advance(connection, effects, now_ns, attempt, said.state)
        return Answer(said.key, True, "")
    job = jobs.get(connection, said.key.job_id)
    if job is None or job.state in JOB_TERMINAL:
        return Answer(said.key, False, f"its job is {job.state.value if job else 'unknown'}")
    if job.state is JobState.CANCELLING:
        return Answer(said.key, False, "cancelled")
    if job.newest_epoch != said.key.epoch:
        return Answer(said.key, False, f"epoch {job.newest_epoch} has replaced it")
    _advance(connection, effects, now_ns, attempt, said.state)
    return Answer(said.key, True, "")


_WITHOUT_IT = "the device came back without it"
_REPORTABLE = (AttemptState.PREPARING, AttemptState.RUNNING, AttemptState.UPLOADING)
