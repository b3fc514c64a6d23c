"""Repeat the runs of a stable campaign until the figure is known precisely enough."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace

from fleetmark_controller.evaluation import condition, confidence
from fleetmark_controller.lifecycle.repeat_policy import RepeatDecision, Runs, next_step
from fleetmark_controller.lifecycle.states import JOB_TERMINAL
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store import events
from fleetmark_controller.store.jobs import job_options, jobs, lockfiles
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.results import runs
from fleetmark_core.ids import uuid7
from fleetmark_core.repeat_bounds import bounds_of


def after_run(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    key: AttemptKey,
    new_id: Callable[[], str] = uuid7,
) -> RepeatDecision | None:
    """Decide whether to repeat a configuration after an official run, and queue the repetition.

    Returns:
        The decision; None if the job is not a performance job of a stable campaign, or cannot run
        on the device any more.
    """
    job = jobs.get(connection, key.job_id)
    if job is None or job.configuration.get("stable") is not True:
        return None
    if job.configuration.get("mode") != "performance":
        return None
    option = job_options.get(connection, job.job_id, key.device_id)
    if option is None:
        return None
    members = runs.repetitions(connection, job.job_id, key.device_id)
    valid = [member for member in members if member.loadgen_validity == "VALID"]
    figures = [member.metric_value for member in valid if member.metric_value is not None]
    half = confidence.half_percent(figures)
    terminal = {state.value for state in JOB_TERMINAL}
    ended = sum(member.state in terminal for member in members)
    last = next((m for m in members if m.job_id == job.job_id), None)
    now = Runs(figures, half, len(members) - ended, ended, last is not None and last in valid)
    bounds = bounds_of(lockfiles.get(connection, option.lock_sha256).job.get("benchmark"))
    decided = next_step(now, bounds)
    stored = [member.run_id for member in valid if member.run_id]
    runs.set_repeat_interval(connection, stored, half)
    if decided is RepeatDecision.AGAIN:
        again = replace(
            jobs.clone_job(connection, now_ns, job, new_id()).restricted_to(option),
            repetition=max(member.repetition for member in members) + 1,
            interleave_group="",
            interleave_index=0,
        )
        jobs.add_again(connection, now_ns, job.campaign_id, again)
        events.add(connection, now_ns, "job.repeated", job_id=job.job_id, again=again.job_id)
        effects.jobs.add(again.job_id)
        effects.schedule = True
    elif decided is RepeatDecision.BOUND and half is not None and half > bounds.interval_percent:
        text = (
            f"the 95 % interval of the official figure is ± {half:.1f} % over {len(figures)} runs"
        )
        why = condition.reason("interval_wide", text, round(half, 2), bounds.interval_percent)
        runs.add_reason(connection, stored, why, condition.SUSPICIOUS)
    return decided
