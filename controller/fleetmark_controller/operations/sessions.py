"""Messages from devices (hello, capabilities, reports of attempts), and the end of a lease."""

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
    """A device's report of an attempt that it holds."""

    key: AttemptKey
    state: AttemptState
    reason: str = ""
    retryable: bool = False
    signed_order: bytes = b""
    """In a hello: the order in its envelope, not yet verified."""


@dataclass(frozen=True)
class Hello:
    """The first message of a device on a stream."""

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
    """Lockfiles that the signed orders name, not yet verified."""

    def without_papers(self) -> Hello:
        """Return a copy without the large fields that only the reconciliation of attempts needs."""
        if not self.attempts and not self.locks:
            return self
        reports = tuple(replace(report, signed_order=b"") for report in self.attempts)
        return replace(self, attempts=reports, locks=())


@dataclass(frozen=True)
class Answer:
    """The answer to one attempt named in a hello: CONTINUE if `keep` is set, otherwise STOP."""

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
    """Register the device, and reconcile every attempt that either side knows.

    Args:
        connection: the writer's connection.
        effects: receives offers and stops.
        now_ns: the wall clock.
        said: the hello.
        vouching: recognizes the orders that this controller signed.

    Returns:
        An answer for each attempt in the hello.
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
    """Offer again or end the attempts that the store knows and the device does not report."""
    held = {(report.key.job_id, report.key.epoch) for report in said.attempts}
    for attempt in attempts.on_device(connection, said.device_id):
        if (attempt.key.job_id, attempt.key.epoch) in held:
            continue
        if attempt.state is AttemptState.OFFERED and attempt.key.epoch > said.highest_epoch:
            # The offer or its reply was lost: send the same epoch again.
            effects.offers.append(OfferEffect(attempt.key, attempt.order))
        else:
            end_attempt(connection, effects, now_ns, attempt, Ending.GONE, _WITHOUT_IT)
    for job_id, epoch in jobs.hopeless(connection, said.device_id):
        # The job waited for the result of its last, lost attempt, which will not arrive any more.
        lost = attempts.get(connection, AttemptKey(said.device_id, job_id, epoch))
        if lost is not None and (job_id, epoch) not in held:
            end_attempt(connection, effects, now_ns, lost, Ending.GONE, _WITHOUT_IT)


def report(connection: sqlite3.Connection, effects: Effects, now_ns: int, said: Report) -> None:
    """Process a new state of an attempt. Stale and repeated reports change nothing."""
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
    """Store the changed capabilities of a device."""
    del effects  # no effect: waiting jobs were resolved when they were submitted
    devices.set_capabilities(connection, now_ns, device_id, facts)
    events.add_from_device(connection, now_ns, "device.capabilities", device_id=device_id)


def lease_expired(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    device_id: str,
    reason: str = "lease expired: no contact with the device",
) -> None:
    """Record that a device is offline, and mark its attempts as lost."""
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
        # An attempt that the device has given up brings no result, so no job is recovered for it.
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
        # The attempt is finished: store its result, official or late, whatever its job's state.
        _advance(connection, effects, now_ns, attempt, said.state)
        return Answer(said.key, True, "")
    job = jobs.get(connection, said.key.job_id)
    if job is None or job.state in JOB_TERMINAL:
        return Answer(said.key, False, f"its job is {job.state.value if job else 'unknown'}")
    if job.state is JobState.CANCELLING:
        return Answer(said.key, False, "cancelled")
    if job.newest_epoch != said.key.epoch:
        return Answer(said.key, False, f"replaced by the attempt with epoch {job.newest_epoch}")
    _advance(connection, effects, now_ns, attempt, said.state)
    return Answer(said.key, True, "")


_WITHOUT_IT = "the device reconnected without this attempt"
_REPORTABLE = (AttemptState.PREPARING, AttemptState.RUNNING, AttemptState.UPLOADING)
