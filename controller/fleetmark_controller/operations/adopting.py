"""Takes up attempts that a device holds and this store does not know: after a restored backup."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from fleetmark_catalog.core.digest import sha256_hex
from fleetmark_catalog.core.errors import CatalogError
from fleetmark_catalog.core.lock import Lock, parse_lock
from fleetmark_catalog.core.order import Order, parse_order
from fleetmark_catalog.resolve import Configuration
from fleetmark_controller.clock import NS_PER_S, iso
from fleetmark_controller.lifecycle.states import JOB_TERMINAL, JobState
from fleetmark_controller.operations.assigning import order_for
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning import DEFAULT_DEADLINE_S, described
from fleetmark_controller.store import attempts, events, jobs, releases
from fleetmark_controller.store.attempts import Attempt, AttemptKey

_SUBMITTED_BY = "unknown: from a board's order, after a restored backup"


@dataclass(frozen=True)
class Papers:
    """What a device shows of an attempt: its order in the envelope, and the lock. Not believed."""

    signed_order: bytes
    lock: bytes


Reader = Callable[[bytes], bytes | None]
"""The order in an envelope, if this controller's own key made it; else None."""


def no_reader(envelope: bytes) -> bytes | None:
    """Of a controller without keys: no envelope is its own."""
    del envelope
    return None


def adopt(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    key: AttemptKey,
    papers: Papers | None = None,
    read_order: Reader = no_reader,
) -> Attempt | None:
    """Record an attempt that was assigned after the backup was made; None if nothing vouches.

    Where the backup knows its job, its order follows from that. A job that was submitted after
    the backup is taken up with its campaign from the order that the device shows, if this
    controller signed it: who submitted it, its priority and how often it may be tried again are
    not in there and stay unknown. The store's memory of later epochs of the same job is not
    overruled: the highest epoch stays the newest.
    """
    shown = _believed(key, papers, read_order)
    if jobs.get(connection, key.job_id) is None and shown is not None:
        _take_up(connection, now_ns, shown)
    job = jobs.get(connection, key.job_id)
    option = jobs.option(connection, key.job_id, key.device_id)
    if job is None or option is None:
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


@dataclass(frozen=True)
class _Believed:
    """What the controller itself once ordered."""

    order: Order
    lock: Lock
    content: bytes


def _believed(key: AttemptKey, papers: Papers | None, read_order: Reader) -> _Believed | None:
    """The order of exactly this attempt and its lock, if the controller's signature covers both."""
    signed = read_order(papers.signed_order) if papers else None
    if papers is None or signed is None:
        return None
    try:
        order, lock = parse_order(signed), parse_lock(papers.lock)
    except CatalogError:
        return None
    of = AttemptKey(order.device_id, order.job_id, order.epoch)
    if of != key or order.lock_sha256 != sha256_hex(papers.lock):
        return None
    return _Believed(order, lock, papers.lock)


def _take_up(connection: sqlite3.Connection, now_ns: int, shown: _Believed) -> None:
    """Store the job of an order, and its campaign if that is not known either."""
    order, lock = shown.order, shown.lock
    configuration = Configuration(
        lock.benchmark,
        tuple(sorted({name for part in lock.components for name in part.variations})),
        order.scenario,
        order.mode,
        order.profile,
        order.parameters,
    )
    option = jobs.Option(
        order.device_id,
        order.lock_sha256,
        order.lock_bytes,
        order.bundle_bytes,
        order.memory_bytes,
        order.environment_bytes,
        order.output_bytes,
        order.min_sandbox,
    )
    values, key = described(configuration, stable=order.stable)
    job = jobs.NewJob(
        job_id=order.job_id,
        label=configuration.label(),
        configuration=values,
        configuration_key=key,
        repetition=1,
        priority=0,
        timeout_s=order.timeout_s,
        deadline_at=iso(now_ns + DEFAULT_DEADLINE_S * NS_PER_S),
        max_attempts=1,
        options=(option,),
    )
    locks = {order.lock_sha256: shown.content}
    if jobs.campaign_exists(connection, order.campaign_id):
        jobs.add_locks(connection, locks)
        jobs.add_again(connection, now_ns, order.campaign_id, job)
    else:
        campaign = jobs.NewCampaign(
            order.campaign_id,
            lock.benchmark,
            selector="",
            profile=order.profile,
            request={},
            submitted_by=_SUBMITTED_BY,
        )
        jobs.add_campaign(connection, now_ns, campaign, [job], locks)
    events.add(connection, now_ns, "job.adopted", job_id=order.job_id)
