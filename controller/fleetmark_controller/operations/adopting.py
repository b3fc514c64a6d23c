"""Takes up attempts that a device holds and this store does not know: after a restored backup."""

from __future__ import annotations

import sqlite3

from fleetmark_controller.lifecycle.states import JOB_TERMINAL, JobState
from fleetmark_controller.operations.assigning import order_for
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store import attempts, events, jobs, releases
from fleetmark_controller.store.attempts import Attempt, AttemptKey


def adopt(
    connection: sqlite3.Connection, effects: Effects, now_ns: int, key: AttemptKey
) -> Attempt | None:
    """Record an attempt that was assigned after the backup was made, if its job is known here.

    Its order follows from its job, so nothing is missing but what it was told of its board. The
    store's memory of later epochs of the same job is not overruled: the highest epoch stays the
    newest.
    """
    job = jobs.get(connection, key.job_id)
    option = jobs.option(connection, key.job_id, key.device_id)
    if job is None or option is None:
        return None
    attempts.add(connection, now_ns, key, order_for(job, option, key, releases.newest(connection)))
    events.add(connection, now_ns, "attempt.adopted", **key._asdict())
    if key.epoch > job.newest_epoch and job.state not in JOB_TERMINAL:
        jobs.bind(connection, key.job_id, key.device_id, key.epoch)
        if job.state is JobState.QUEUED:
            jobs.transition(connection, now_ns, job, JobState.ACTIVE, "")
    effects.jobs.add(key.job_id)
    return attempts.get(connection, key)
