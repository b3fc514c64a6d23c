"""What must hold (I1 to I7 of the design), checked from the store and from the devices' traces."""

from __future__ import annotations

import itertools
import sqlite3

from fleetmark_controller.store.jobs import attempts
from fleetmark_controller.store.jobs.attempts import AttemptKey
from tests.simulation.clock_and_events import Violation
from tests.simulation.controller import SimulatedController
from tests.simulation.device import SimulatedDevice


def always(controller: SimulatedController, devices: list[SimulatedDevice]) -> None:
    """Check the invariants of every step."""
    for device in devices:
        _one_at_a_time(device)
    _acknowledged_is_stored(controller)


def after_recovery(controller: SimulatedController, devices: list[SimulatedDevice]) -> None:
    """Check the invariants after all faults ended and all work stopped."""
    always(controller, devices)
    connection = controller.connection
    _none("I2 none twice", connection, _TWICE)
    _none("I4 one official run a job", connection, _OFFICIAL)
    _none("I4 one run an attempt", connection, _RUNS)
    _none("I5 every job is terminal", connection, _OPEN_JOBS)
    _none("I5 no attempt is left open", connection, _OPEN_ATTEMPTS)
    _none("no job runs again where it crashed", connection, _CRASHED_AGAIN)
    for device in devices:
        if device.session is None:
            raise Violation(f"{device.name} did not come back")
        if device.session.held:
            held = ", ".join(key.name for key in device.session.held)
            raise Violation(f"I6 {device.name} still holds {held}")
        for key in device.completed - device.unwanted:
            whole = AttemptKey(device.name, key.job_id, key.epoch)
            if whole not in controller.overwritten:
                _stored(connection, whole)
    broken = connection.execute("PRAGMA integrity_check").fetchone()[0]
    if broken != "ok" or connection.execute("PRAGMA foreign_key_check").fetchall():
        raise Violation(f"I7 the database is not sound: {broken}")


def _one_at_a_time(device: SimulatedDevice) -> None:
    """I3, by the device's own trace."""
    spans = sorted((began, ended, key) for key, began, ended in device.trace[-3:])
    if device.running is not None:
        spans.append((device.running.began_s, float("inf"), device.running.key))
    for (_, ended, first), (began, _, second) in itertools.pairwise(spans):
        if began < ended:
            raise Violation(f"I3 {device.name} ran {first.name} and {second.name} at the same time")


def _acknowledged_is_stored(controller: SimulatedController) -> None:
    """I1: every acknowledged record is present."""
    for key, through in controller.acknowledged.items():
        found = controller.connection.execute(
            "SELECT count(DISTINCT seq) FROM record"
            " WHERE job_id = ? AND epoch = ? AND seq BETWEEN 1 AND ?",
            (key.job_id, key.epoch, through),
        ).fetchone()[0]
        if found != through:
            raise Violation(f"I1 {through} records of {key} were acknowledged, {found} are stored")


def _stored(connection: sqlite3.Connection, key: AttemptKey) -> None:
    """I6: a completed attempt is stored, official or late."""
    attempt = attempts.get(connection, key)
    if attempt is None or not attempt.verified:
        raise Violation(
            f"I6 {key.device_id} completed {key.job_id} {key.epoch}, which is not stored"
        )


def _none(what: str, connection: sqlite3.Connection, query: str) -> None:
    rows = [tuple(row) for row in connection.execute(query)]
    if rows:
        raise Violation(f"{what}: {rows[:3]}")


_TWICE = "SELECT job_id, epoch, seq FROM record GROUP BY 1, 2, 3 HAVING count(*) > 1"
_OFFICIAL = "SELECT job_id FROM run WHERE official = 1 GROUP BY 1 HAVING count(*) > 1"
_RUNS = "SELECT job_id, epoch FROM run GROUP BY 1, 2 HAVING count(*) > 1"
_OPEN_JOBS = """SELECT job_id, state, reason FROM job
    WHERE state NOT IN ('SUCCEEDED', 'ESTIMATE', 'INVALID', 'FAILED', 'CANCELLED')"""
# A lost attempt may crash after another one was dispatched to its device.
_CRASHED_AGAIN = """SELECT crashed.job_id, crashed.epoch, later.epoch FROM attempt AS crashed
    JOIN attempt AS later USING (job_id, device_id) WHERE later.epoch > crashed.epoch
    AND crashed.failure_cause = 'crash' AND crashed.state = 'ABORTED'"""
_OPEN_ATTEMPTS = """SELECT job_id, epoch, state FROM attempt
    WHERE state NOT IN ('DONE', 'REFUSED', 'ABORTED', 'LOST')"""
