"""Messages from devices (hello, capabilities, reports of attempts), and the end of a lease."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from fleetmark_controller.lifecycle.failure_policy import unreported_cause
from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.lifecycle.states import (
    ATTEMPT_TERMINAL,
    JOB_TERMINAL,
    AttemptState,
    JobState,
    allowed_transitions,
)
from fleetmark_controller.operations.attempt_end import end_attempt
from fleetmark_controller.operations.effects import Effects, OfferEffect, StopEffect
from fleetmark_controller.operations.recovery import (
    NO_ORDER_VERIFIER,
    OrderEvidence,
    OrderVerifier,
    recover_attempt,
)
from fleetmark_controller.store import epochs, events
from fleetmark_controller.store.devices import devices
from fleetmark_controller.store.jobs import attempts, jobs, scheduler_view
from fleetmark_controller.store.jobs.attempts import Attempt, AttemptKey
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.failure_cause import FailureCause

_WITHOUT_IT = "the device reconnected without this attempt"
_REPORTABLE = (AttemptState.PREPARING, AttemptState.RUNNING, AttemptState.UPLOADING)


@dataclass(frozen=True)
class DeviceReport:
    """A device's report of an attempt that it holds."""

    key: AttemptKey
    state: AttemptState
    reason: str = ""
    retryable: bool = False
    signed_order: bytes = b""
    """In a hello: the order in its envelope, not yet verified."""
    cause: FailureCause | None = None
    """Cause of a refused or aborted attempt; None from an older agent."""


@dataclass(frozen=True)
class DeviceHello:
    """The first message of a device on a stream."""

    device_id: str
    name: str
    labels: dict[str, str]
    capabilities: Capabilities
    agent_version: str
    boot_id: str
    highest_epoch: int
    idle: bool
    attempts: tuple[DeviceReport, ...] = ()
    locks: tuple[bytes, ...] = ()
    """Lockfiles that the signed orders name, not yet verified."""

    def without_order_evidence(self) -> DeviceHello:
        """Return a copy without the large fields that only the reconciliation of attempts needs."""
        if not self.attempts and not self.locks:
            return self
        reports = tuple(replace(report, signed_order=b"") for report in self.attempts)
        return replace(self, attempts=reports, locks=())


@dataclass(frozen=True)
class AttemptDecision:
    """The answer to one attempt named in a hello: CONTINUE if `keep` is set, otherwise STOP."""

    key: AttemptKey
    keep: bool
    reason: str


def hello(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    message: DeviceHello,
    verifier: OrderVerifier = NO_ORDER_VERIFIER,
) -> list[AttemptDecision]:
    """Register the device, and reconcile every attempt that either side knows.

    Args:
        connection: the writer's connection.
        effects: receives offers and stops.
        now_ns: the wall clock.
        message: the hello.
        verifier: recognizes the orders that this controller signed.

    Returns:
        An answer for each attempt in the hello.
    """
    new = devices.upsert(
        connection,
        now_ns,
        device_id=message.device_id,
        name=message.name,
        labels=message.labels,
        capabilities=message.capabilities,
        agent_version=message.agent_version,
        boot_id=message.boot_id,
    )
    events.add_from_device(
        connection,
        now_ns,
        "device.registered" if new else "device.connected",
        device_id=message.device_id,
        boot_id=message.boot_id,
    )
    if epochs.observe_epoch(connection, message.highest_epoch):
        events.add_from_device(
            connection,
            now_ns,
            "alarm.generation",
            device_id=message.device_id,
            epoch=message.highest_epoch,
        )
    evidence = OrderEvidence(message.locks, verifier)
    answers = [_answer(connection, effects, now_ns, each, evidence) for each in message.attempts]
    if not new:
        _reconcile_attempts(connection, effects, now_ns, message)
    effects.schedule = True
    return answers


def _reconcile_attempts(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, message: DeviceHello
) -> None:
    """Offer again or end the attempts that the store knows and the device does not report."""
    held = {(report.key.job_id, report.key.epoch) for report in message.attempts}
    for attempt in attempts.on_device(connection, message.device_id):
        if (attempt.key.job_id, attempt.key.epoch) in held:
            continue
        if attempt.state is AttemptState.OFFERED and attempt.key.epoch > message.highest_epoch:
            # The offer or its reply was lost: send the same epoch again.
            effects.offers.append(OfferEffect(attempt.key, attempt.order))
        else:
            end_attempt(connection, effects, now_ns, attempt, AttemptOutcome.GONE, _WITHOUT_IT)
    for job_id, epoch in jobs.exhausted_jobs_of(connection, message.device_id):
        # The job waited for the result of its last, lost attempt, which will not arrive any more.
        lost = attempts.get(connection, AttemptKey(message.device_id, job_id, epoch))
        if lost is not None and (job_id, epoch) not in held:
            end_attempt(connection, effects, now_ns, lost, AttemptOutcome.GONE, _WITHOUT_IT)


def report(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, report_: DeviceReport
) -> None:
    """Process a new state of an attempt. Stale and repeated reports change nothing."""
    attempt = attempts.get(connection, report_.key)
    if attempt is None:
        effects.stops.append(StopEffect(report_.key, "unknown to this controller"))
        return
    if report_.state in (AttemptState.REFUSED, AttemptState.ABORTED):
        if attempt.state not in ATTEMPT_TERMINAL and attempt.state is not AttemptState.VERIFYING:
            ending = (
                AttemptOutcome.REFUSED
                if report_.state is AttemptState.REFUSED
                else AttemptOutcome.ABORTED
            )
            end_attempt(
                connection,
                effects,
                now_ns,
                attempt,
                ending,
                report_.reason,
                report_.retryable,
                cause=report_.cause or unreported_cause(ending, report_.retryable),
            )
        effects.stops.append(StopEffect(report_.key, "recorded"))
        return
    _advance(connection, effects, now_ns, attempt, report_.state)


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
            AttemptOutcome.LOST,
            reason,
        )


def _advance(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    attempt: Attempt,
    state: AttemptState,
) -> None:
    if state in allowed_transitions(attempt.state) and state in _REPORTABLE:
        attempts.transition(connection, now_ns, attempt, state, "")
        if state is not AttemptState.PREPARING:
            scheduler_view.record_blobs_delivered(
                connection, now_ns, attempt.key.device_id, attempt.key.job_id
            )
        effects.jobs.add(attempt.key.job_id)


def _answer(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    report_: DeviceReport,
    evidence: OrderEvidence,
) -> AttemptDecision:
    given_up = report_.state in (AttemptState.REFUSED, AttemptState.ABORTED)
    attempt = attempts.get(connection, report_.key)
    if attempt is None:
        # An attempt that the device has given up brings no result, so no job is recovered for it.
        envelope = b"" if given_up else report_.signed_order
        attempt = recover_attempt(connection, effects, now_ns, report_.key, evidence, envelope)
    if attempt is None:
        return AttemptDecision(report_.key, False, "unknown to this controller")
    if given_up:
        report(connection, Effects(jobs=effects.jobs, ended=effects.ended), now_ns, report_)
        return AttemptDecision(report_.key, False, "recorded")
    if attempt.verified or attempt.state in (AttemptState.REFUSED, AttemptState.ABORTED):
        return AttemptDecision(report_.key, False, "recorded")
    if report_.state is AttemptState.UPLOADING:
        # The attempt is finished: store its result, official or late, whatever its job's state.
        _advance(connection, effects, now_ns, attempt, report_.state)
        return AttemptDecision(report_.key, True, "")
    job = jobs.get(connection, report_.key.job_id)
    if job is None or job.state in JOB_TERMINAL:
        return AttemptDecision(
            report_.key, False, f"its job is {job.state.value if job else 'unknown'}"
        )
    if job.state is JobState.CANCELLING:
        return AttemptDecision(report_.key, False, "cancelled")
    if job.newest_epoch != report_.key.epoch:
        return AttemptDecision(
            report_.key, False, f"replaced by the attempt with epoch {job.newest_epoch}"
        )
    _advance(connection, effects, now_ns, attempt, report_.state)
    return AttemptDecision(report_.key, True, "")
