"""Submit the cross-check of a run: a job that measures the parts of the run's figure."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from fleetmark_controller.operations import campaigns
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store.jobs import jobs, lockfiles
from fleetmark_controller.store.results import runs
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.modes import CROSSCHECK, PERFORMANCE
from fleetmark_core.order import parse_order

_HARNESS = "fleetmark_harness-"
_FIRST_HARNESS = (1, 4)
"""The first version of the harness with mode crosscheck."""


def submit(
    connection: sqlite3.Connection,
    effects: Effects,
    now_ns: int,
    run_id: str,
    campaign_id: str,
    submitted_by: str,
) -> str:
    """Submit a job with the lockfile, device and parameters of a run in mode crosscheck.

    A repeated request with the same campaign id changes nothing.

    Returns:
        The name of the device.

    Raises:
        FleetmarkError: USAGE: the run has no figure that a bare loop explains; NOTHING_FITS: its
            harness has no such mode, or the device no longer takes jobs.
    """
    made = runs.origin(connection, run_id)
    order = parse_order(made.order)
    wheels = (
        wheel.name for wheel in lockfiles.get(connection, order.lock_sha256).environment.wheels
    )
    check_run(run_id, order.mode, order.scenario, wheels)
    job = jobs.get(connection, made.job_id)
    assert job is not None
    changes = {"mode": CROSSCHECK, "sustained": False}
    return campaigns.replay(
        *(connection, effects, now_ns, run_id, campaign_id, 1, submitted_by),
        changes=changes,
        label=job.label.replace(
            f"{order.scenario} {PERFORMANCE}", f"{order.scenario} {CROSSCHECK}"
        ),
        origin="crosscheck",
    )


def check_run(run_id: str, mode: str, scenario: str, wheels: Iterable[str]) -> None:
    """Refuse a run whose figure a cross-check cannot explain.

    Raises:
        FleetmarkError: USAGE: mode or scenario; NOTHING_FITS: the harness among `wheels`.
    """
    where = f"run {run_id}"
    if mode != PERFORMANCE:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"only runs in mode {PERFORMANCE} can be cross-checked; the mode is {mode}",
            where,
            "Choose another run: `controller results list --runs`",
        )
    if scenario == "Server":
        raise FleetmarkError(
            ErrorKind.USAGE,
            "a latency in Server includes the time in the queue, which a bare loop does not have",
            where,
            "Cross-check a SingleStream run of the same configuration",
        )
    if _harness_version(wheels) < _FIRST_HARNESS:
        raise FleetmarkError(
            ErrorKind.NOTHING_FITS,
            "the harness in the lockfile of the run has no mode crosscheck",
            where,
            "Run the benchmark again, and cross-check the new run",
        )


def _harness_version(wheels: Iterable[str]) -> tuple[int, ...]:
    for name in wheels:
        if name.startswith(_HARNESS):
            parts = name.removeprefix(_HARNESS).partition("-")[0].split(".")
            return tuple(int(part) if part.isdecimal() else 0 for part in parts)
    return ()
