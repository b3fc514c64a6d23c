"""Dispatch waiting jobs to free devices: the scheduler decides, one transaction binds."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from fleetmark_controller.lifecycle.states import JobState
from fleetmark_controller.operations.effects import Effects, OfferEffect
from fleetmark_controller.operations.tuned_parameters import resolve_run_parameters
from fleetmark_controller.planning.model import JobOption
from fleetmark_controller.scheduling.model import PresenceSnapshot, Scheduler
from fleetmark_controller.store import epochs
from fleetmark_controller.store.jobs import attempts, job_options, jobs, scheduler_view
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.security.releases import UNSIGNED, Reference, SigningStatus
from fleetmark_core.order import ORDER_FORMAT, Order

_FEW = 64
"""Up to this many idle devices are considered without first filtering by the waiting jobs."""


def dispatch_jobs(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    seen: Mapping[str, PresenceSnapshot],
    scheduler: Scheduler,
    free: Collection[str] | None = None,
    trust: SigningStatus = UNSIGNED,
) -> int | None:
    """Bind jobs to devices that reported idle and have no work in the store.

    Args:
        connection: the writer's connection.
        effects: receives the offers.
        now_ns: the wall clock.
        seen: the presence of each device.
        scheduler: decides which job runs on which device.
        free: the idle devices according to `seen`, if known; it may change during the call.
        trust: the release under which orders can be signed.

    Returns:
        The time in nanoseconds after which another dispatch becomes possible without an event; None
        if there is no such time.
    """
    idle: Collection[str] = (
        dict.fromkeys(name for name, what in seen.items() if what.idle) if free is None else free
    )
    # With thousands of idle devices, consider only those that a waiting job could run on.
    wanted = scheduler_view.candidate_devices(connection) if len(idle) > _FEW else None
    busy = attempts.busy_devices(connection)
    open_devices = [
        name
        for name in (list(idle) if wanted is None else sorted(wanted))
        if name in idle and name not in busy
    ]
    if not open_devices:
        return None
    view = scheduler_view.view(connection, now_ns, seen, scheduler.ageing_s, open_devices)
    plan = scheduler.plan(replace(view, unsignable=trust.fault))
    for assignment in plan.assignments:
        job = jobs.get(connection, assignment.job_id)
        if job is None:
            raise RuntimeError(f"the scheduler named job {assignment.job_id}, which is not stored")
        option = job_options.get(connection, job.job_id, assignment.device_id)
        if option is None:
            raise RuntimeError(f"job {job.job_id} cannot run on {assignment.device_id}")
        key = AttemptKey(assignment.device_id, job.job_id, epochs.next_epoch(connection))
        parameters, option = resolve_run_parameters(connection, job, option)
        order = order_for(job, option, key, trust.reference, parameters)
        jobs.assign(connection, job.job_id, key.device_id, key.epoch)
        jobs.transition(connection, now_ns, job, JobState.ACTIVE, "")
        attempts.add(connection, now_ns, key, order)
        effects.offers.append(OfferEffect(key, order))
        effects.jobs.add(job.job_id)
    return plan.again_after_ns


def waits(
    connection: sqlite3.Connection,
    now_ns: int,
    seen: Mapping[str, PresenceSnapshot],
    scheduler: Scheduler,
    trust: SigningStatus = UNSIGNED,
) -> dict[str, str]:
    """Return the wait reason of every queued job, as given by the scheduler."""
    view = scheduler_view.view(connection, now_ns, seen)
    plan = scheduler.plan(replace(view, unsignable=trust.fault))
    about = dict.fromkeys((a.job_id for a in plan.assignments), "it is about to be dispatched")
    return {**plan.waits, **about}


def order_for(
    job: jobs.Job,
    option: JobOption,
    key: AttemptKey,
    release: Reference | None,
    parameters: Mapping[str, Any] | None = None,
) -> bytes:
    """Return the order of an attempt; it follows from job, device, epoch, release and parameters.

    `parameters` are the job's parameters with values tuned on the device; None: the job's own.
    """
    return Order(
        format=ORDER_FORMAT,
        device_id=key.device_id,
        campaign_id=job.campaign_id,
        job_id=job.job_id,
        epoch=key.epoch,
        lock_sha256=option.lock_sha256,
        lock_bytes=option.lock_bytes,
        bundle_bytes=option.bundle_bytes,
        scenario=job.configuration["scenario"],
        mode=job.configuration["mode"],
        profile=job.configuration["profile"],
        timeout_s=job.timeout_s,
        parameters=job.configuration["parameters"] if parameters is None else dict(parameters),
        memory_bytes=option.memory_bytes,
        environment_bytes=option.environment_bytes,
        output_bytes=option.output_bytes,
        release_serial=release.serial if release else 0,
        release_sha256=release.sha256 if release else "",
        release_bytes=release.size_bytes if release else 0,
        min_sandbox=option.min_sandbox,
        # Accuracy does not depend on the temperature of the device.
        start_below_c=float(job.configuration.get("start_below_c", 0.0)),
        stable=bool(job.configuration.get("stable")) and job.configuration["mode"] != "accuracy",
    ).canonical()
