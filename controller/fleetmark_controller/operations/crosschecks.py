"""Submit the cross-check of a run: a job that measures the parts of the run's figure."""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from fleetmark_controller.operations import campaigns
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.operations.tuned_parameters import (
    RATE,
    TUNED,
    parameters_at_dispatch,
)
from fleetmark_controller.store.jobs import jobs, lockfiles
from fleetmark_controller.store.results import runs
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.modes import CROSSCHECK, PERFORMANCE
from fleetmark_core.order import parse_order

_HARNESS = "fleetmark_harness-"
_FIRST_HARNESS = (1, 4)
"""The first version of the harness with mode crosscheck."""
_FIRST_SERVER = (1, 5)
"""The first version of the harness that cross-checks runs in Server."""
_SERVER = "Server"
_MOST_RATE = 1e9
"""The harness accepts no higher rate, in queries per second."""
_RATE_LINE = re.compile(r"^\*\.Server\.target_qps = ([0-9.eE+-]{1,40})$", re.MULTILINE)


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
        FleetmarkError: USAGE: the run is of another mode, or its rate of arrival is unknown;
            NOTHING_FITS: its harness has no such mode, or the device no longer takes jobs.
    """
    made = runs.origin(connection, run_id)
    order = parse_order(made.order)
    wheels = (
        wheel.name for wheel in lockfiles.get(connection, order.lock_sha256).environment.wheels
    )
    check_run(run_id, order.mode, order.scenario, wheels)
    job = jobs.get(connection, made.job_id)
    assert job is not None
    changes: dict[str, object] = {"mode": CROSSCHECK, "sustained": False}
    if order.scenario == _SERVER and RATE not in order.parameters:
        # The harness chose the rate from its calibration; another calibration has another rate.
        rate = arrival_rate(run_id, json.loads(runs.provenance(connection, run_id)))
        changes[TUNED] = {**parameters_at_dispatch(job, made.order), RATE: rate}
    return campaigns.replay(
        *(connection, effects, now_ns, run_id, campaign_id, 1, submitted_by),
        changes=changes,
        label=job.label.replace(
            f"{order.scenario} {PERFORMANCE}", f"{order.scenario} {CROSSCHECK}"
        ),
        origin="crosscheck",
    )


def arrival_rate(run_id: str, provenance: Mapping[str, Any]) -> float:
    """Return the rate of arrival of a run in Server, in queries per second.

    It is the rate in the user.conf that the run read. The evaluation of the cross-check takes the
    rate from LoadGen's log.

    Raises:
        FleetmarkError: USAGE: the record of the run does not state it.
    """
    result = provenance.get("program_result")
    conf = result.get("loadgen_user_conf") if isinstance(result, Mapping) else None
    found = _RATE_LINE.search(conf) if isinstance(conf, str) else None
    try:
        rate = float(found.group(1)) if found else math.nan
    except ValueError:
        rate = math.nan
    if not 0 < rate < _MOST_RATE:
        raise FleetmarkError(
            ErrorKind.USAGE,
            "the record of the run does not state its rate of arrival, target_qps",
            f"run {run_id}",
            "Run the benchmark again with `--param target_qps=…`, and cross-check the new run",
        )
    return rate


def check_run(run_id: str, mode: str, scenario: str, wheels: Iterable[str]) -> None:
    """Refuse a run whose figure a cross-check cannot explain.

    Raises:
        FleetmarkError: USAGE: its mode; NOTHING_FITS: the harness among `wheels`.
    """
    where = f"run {run_id}"
    if mode != PERFORMANCE:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"only runs in mode {PERFORMANCE} can be cross-checked; the mode is {mode}",
            where,
            "Choose another run: `controller results list --runs`",
        )
    version = _harness_version(wheels)
    needed = _FIRST_SERVER if scenario == _SERVER else _FIRST_HARNESS
    if version < needed:
        lacks = "mode crosscheck"
        if version >= _FIRST_HARNESS:
            lacks = f"mode crosscheck in {_SERVER}"
        shown = ".".join(map(str, version)) or "of an unknown version"
        raise FleetmarkError(
            ErrorKind.NOTHING_FITS,
            f"the harness in the lockfile of the run, {shown}, has no {lacks}; it needs"
            f" {'.'.join(map(str, needed))} or later",
            where,
            "Run the benchmark again, and cross-check the new run",
        )


def _harness_version(wheels: Iterable[str]) -> tuple[int, ...]:
    for name in wheels:
        if name.startswith(_HARNESS):
            parts = name.removeprefix(_HARNESS).partition("-")[0].split(".")
            return tuple(int(part) if part.isdecimal() else 0 for part in parts)
    return ()
