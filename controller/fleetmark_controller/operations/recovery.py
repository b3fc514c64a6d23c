"""Takes up attempts that a device holds and this store does not know: after a restored backup."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from fleetmark_catalog.resolve import Configuration
from fleetmark_controller.lifecycle.states import JOB_TERMINAL, JobState
from fleetmark_controller.operations.dispatch import order_for
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning.model import NewCampaign, NewJob, Option
from fleetmark_controller.planning.plan import DEFAULT_DEADLINE_S, described
from fleetmark_controller.store import events
from fleetmark_controller.store.jobs import attempts, campaigns, job_options, jobs, lockfiles
from fleetmark_controller.store.jobs.attempts import Attempt, AttemptKey
from fleetmark_controller.store.security import releases
from fleetmark_core.clock import NS_PER_S, iso
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.lockfile import Lock, parse_lock
from fleetmark_core.order import Order, parse_order

_SUBMITTED_BY = "unknown: from a board's order, after a restored backup"


@dataclass(frozen=True)
class Vouching:
    """What a controller knows of its own orders.

    `read_order` gives what is in an envelope, if the controller's own key made it, else None;
    `variations` gives those of a lock in the order that labels show.
    """

    read_order: Callable[[bytes], bytes | None]
    variations: Callable[[Lock], tuple[str, ...]] = lambda lock: ()


NOBODY = Vouching(lambda envelope: None)
"""Of a controller without keys: no envelope is its own."""


class Papers:
    """What a device shows in one hello, and who says what of it is to be believed."""

    def __init__(self, locks: tuple[bytes, ...] = (), vouching: Vouching = NOBODY) -> None:
        """`locks` are those that the orders name."""
        self._given = locks
        self.vouching = vouching

    @cached_property
    def _locks(self) -> Mapping[str, bytes]:
        return {sha256_hex(content): content for content in self._given}

    def believed(self, key: AttemptKey, envelope: bytes) -> Believed | None:
        """The order of exactly this attempt and its lock, if the own signature covers both."""
        signed = self.vouching.read_order(envelope) if envelope else None
        if signed is None:
            return None
        try:
            order = parse_order(signed)
            content = self._locks.get(order.lock_sha256, b"")
            if AttemptKey(order.device_id, order.job_id, order.epoch) != key:
                return None
            return Believed(order, parse_lock(content), content)
        except FleetmarkError:
            return None


@dataclass(frozen=True)
class Believed:
    """What the controller itself once ordered."""

    order: Order
    lock: Lock
    content: bytes

    @property
    def option(self) -> Option:
        """The device of the order, as the job's planning had it."""
        order = self.order
        return Option(
            order.device_id,
            order.lock_sha256,
            order.lock_bytes,
            order.bundle_bytes,
            order.memory_bytes,
            order.environment_bytes,
            order.output_bytes,
            order.min_sandbox,
        )


def adopt(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    key: AttemptKey,
    papers: Papers,
    envelope: bytes,
) -> Attempt | None:
    """Record an attempt that was assigned after the backup was made; None if nothing vouches.

    Where the backup knows its job, its order follows from that. A job that was submitted after
    the backup is taken up with its campaign from the order in the `envelope` that the device
    shows, if this controller signed it. What is not in there stays unknown: who submitted it, its
    priority, how often it may be tried, whether a parameter was its own or told by a search, and
    whether its runs were to repeat; they do not. The store's memory of later epochs of the same
    job is not overruled: the highest epoch stays the newest.
    """
    shown = papers.believed(key, envelope)
    job = jobs.get(connection, key.job_id)
    if job is None:
        if shown is None:
            return None
        job = _take_up(connection, effects, now_ns, shown, papers.vouching)
    option = job_options.get(connection, key.job_id, key.device_id)
    if option is None and shown is not None:
        option = shown.option
        _keep_lock(connection, effects, shown)
        job_options.add(connection, key.job_id, option)
    if option is None:
        return None
    if shown is not None:
        # It says more than what follows from the job: the release, what the board was told.
        order = shown.order.canonical()
    else:
        order = order_for(job, option, key, releases.newest(connection))
    attempts.add(connection, now_ns, key, order)
    events.add(connection, now_ns, "attempt.adopted", **key._asdict())
    if key.epoch > job.newest_epoch and job.state not in JOB_TERMINAL:
        jobs.bind(connection, key.job_id, key.device_id, key.epoch)
        if job.state is JobState.QUEUED:
            jobs.transition(connection, now_ns, job, JobState.ACTIVE, "")
    effects.jobs.add(key.job_id)
    return attempts.get(connection, key)


def _take_up(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    shown: Believed,
    vouching: Vouching,
) -> jobs.Job:
    """Store the job of an order, and its campaign if that is not known either."""
    order, lock = shown.order, shown.lock
    configuration = Configuration(
        lock.benchmark,
        vouching.variations(lock),
        order.scenario,
        order.mode,
        order.profile,
        order.parameters,
    )
    values, key = described(configuration, stable=order.stable)
    if order.stable:
        values["stable"] = "once"
    job = NewJob(
        job_id=order.job_id,
        label=configuration.label(),
        configuration=values,
        configuration_key=key,
        repetition=jobs.repetitions(connection, order.campaign_id, key, order.mode, order.device_id)
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


def _keep_lock(connection: sqlite3.Connection, effects: Effects, shown: Believed) -> None:
    lockfiles.add(connection, {shown.order.lock_sha256: shown.content})
    effects.blobs.append(shown.content)
