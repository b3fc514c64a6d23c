"""Recover attempts that a device holds and the store does not know, after a restored backup."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from fleetmark_catalog.resolve import Configuration
from fleetmark_controller.lifecycle.states import JOB_TERMINAL, JobState
from fleetmark_controller.operations.dispatch import order_for
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning.model import JobOption, NewCampaign, NewJob
from fleetmark_controller.planning.plan import DEFAULT_DEADLINE_S, describe_configuration
from fleetmark_controller.store import events
from fleetmark_controller.store.jobs import attempts, campaigns, job_options, jobs, lockfiles
from fleetmark_controller.store.jobs.attempts import Attempt, AttemptKey
from fleetmark_controller.store.security import releases
from fleetmark_core.clock import NS_PER_S, iso
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.lockfile import Lockfile, parse_lockfile
from fleetmark_core.order import Order, parse_order

_SUBMITTED_BY = "unknown: recovered from a device's order after a restored backup"


@dataclass(frozen=True)
class OrderVerifier:
    """Functions by which a controller recognizes its own orders.

    `read_order` returns the order in an envelope that the controller's own key signed, else None.
    `variations` returns the variations of a lockfile in the order in which labels show them.
    """

    read_order: Callable[[bytes], bytes | None]
    variations: Callable[[Lockfile], tuple[str, ...]] = lambda lock: ()


NO_ORDER_VERIFIER = OrderVerifier(lambda envelope: None)
"""Verifier of a controller without keys: it recognizes no envelope as its own."""


class OrderEvidence:
    """The lockfiles in one hello, with the functions that verify the orders that name them."""

    def __init__(
        self, locks: tuple[bytes, ...] = (), verifier: OrderVerifier = NO_ORDER_VERIFIER
    ) -> None:
        """Create an object that parses on demand.

        Args:
            locks: the lockfiles that the orders name.
            verifier: the functions by which the controller recognizes its own orders.
        """
        self._given = locks
        self.verifier = verifier

    @cached_property
    def _locks(self) -> Mapping[str, bytes]:
        return {sha256_hex(content): content for content in self._given}

    def verify(self, key: AttemptKey, envelope: bytes) -> VerifiedOrder | None:
        """Return the attempt's order and lockfile if the controller signed them, else None."""
        signed = self.verifier.read_order(envelope) if envelope else None
        if signed is None:
            return None
        try:
            order = parse_order(signed)
            content = self._locks.get(order.lock_sha256, b"")
            if AttemptKey(order.device_id, order.job_id, order.epoch) != key:
                return None
            return VerifiedOrder(order, parse_lockfile(content), content)
        except FleetmarkError:
            return None


@dataclass(frozen=True)
class VerifiedOrder:
    """An order that this controller signed, with its lockfile."""

    order: Order
    lock: Lockfile
    content: bytes

    @property
    def option(self) -> JobOption:
        """The option of the job that the order was made from."""
        order = self.order
        return JobOption(
            order.device_id,
            order.lock_sha256,
            order.lock_bytes,
            order.bundle_bytes,
            order.memory_bytes,
            order.environment_bytes,
            order.output_bytes,
            order.min_sandbox,
        )


def recover_attempt(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    key: AttemptKey,
    evidence: OrderEvidence,
    envelope: bytes,
) -> Attempt | None:
    """Record an attempt that was dispatched after the backup; return None if it cannot be verified.

    If the backup contains the job, the order follows from the job. A job that was submitted after
    the backup is recovered with its campaign from the order in the `envelope` that the device
    presents, if this controller signed it. Facts that the order does not contain stay unknown: the
    submitter, the priority, the number of attempts, whether a parameter was the job's own or tuned
    by a search, and whether its runs were to be repeated; they are not repeated. Later epochs of
    the same job in the store are not overruled: the highest epoch stays the newest.
    """
    shown = evidence.verify(key, envelope)
    job = jobs.get(connection, key.job_id)
    if job is None:
        if shown is None:
            return None
        job = _take_up(connection, effects, now_ns, shown, evidence.verifier)
    option = job_options.get(connection, key.job_id, key.device_id)
    if option is None and shown is not None:
        option = shown.option
        _keep_lock(connection, effects, shown)
        job_options.add(connection, key.job_id, option)
    if option is None:
        return None
    if shown is not None:
        # The signed order contains more than the job implies: the release and tuned parameters.
        order = shown.order.canonical()
    else:
        order = order_for(job, option, key, releases.newest(connection))
    attempts.add(connection, now_ns, key, order)
    events.add(connection, now_ns, "attempt.adopted", **key._asdict())
    if key.epoch > job.newest_epoch and job.state not in JOB_TERMINAL:
        jobs.assign(connection, key.job_id, key.device_id, key.epoch)
        if job.state is JobState.QUEUED:
            jobs.transition(connection, now_ns, job, JobState.ACTIVE, "")
    effects.jobs.add(key.job_id)
    return attempts.get(connection, key)


def _take_up(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    shown: VerifiedOrder,
    verifier: OrderVerifier,
) -> jobs.Job:
    """Store the job of an order, and its campaign if that is not known either."""
    order, lock = shown.order, shown.lock
    configuration = Configuration(
        lock.benchmark,
        verifier.variations(lock),
        order.scenario,
        order.mode,
        order.profile,
        order.parameters,
    )
    values, key = describe_configuration(
        configuration, stable=order.stable, start_below_c=order.start_below_c
    )
    if order.stable:
        values["stable"] = "once"
    job = NewJob(
        job_id=order.job_id,
        label=configuration.label(),
        configuration=values,
        configuration_key=key,
        repetition=jobs.highest_repetition(
            connection, order.campaign_id, key, order.mode, order.device_id
        )
        + 1,
        priority=0,
        timeout_s=order.timeout_s,
        deadline_at=iso(now_ns + DEFAULT_DEADLINE_S * NS_PER_S),
        max_attempts=1,
        options=(shown.option,),
    )
    _keep_lock(connection, effects, shown)
    if campaigns.exists(connection, order.campaign_id):
        jobs.add_again(connection, now_ns, order.campaign_id, job)
    else:
        campaign = NewCampaign(
            order.campaign_id,
            lock.benchmark,
            selector="",
            profile=order.profile,
            request={},
            submitted_by=_SUBMITTED_BY,
        )
        campaigns.add(connection, now_ns, campaign, [job], {})
    events.add(connection, now_ns, "job.adopted", job_id=order.job_id)
    stored = jobs.get(connection, order.job_id)
    assert stored is not None
    return stored


def _keep_lock(connection: sqlite3.Connection, effects: Effects, shown: VerifiedOrder) -> None:
    lockfiles.add(connection, {shown.order.lock_sha256: shown.content})
    effects.blobs.append(shown.content)
