"""The times of a stored run by which the log of a power meter is read."""

from __future__ import annotations

import sqlite3

from fleetmark_controller.evaluation.power_meter.alignment import RunTimes
from fleetmark_controller.store.results import runs
from fleetmark_core.clock import iso, parse_iso
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.records import parse_final


def run_times(connection: sqlite3.Connection, run_id: str) -> tuple[RunTimes, runs.Counts]:
    """Return the times of a run by its device's clock, and its counts.

    Raises:
        FleetmarkError: BAD_POWER_LOG: the run has no measured interval, or it is unknown.
    """
    known = runs.counts(connection, run_id)
    if known.mode == "accuracy" or not known.started_at or not known.duration_s:
        raise _interval_error(
            run_id, "this run has no measured interval; power logs belong to performance runs"
        )
    payload = runs.final_record(connection, run_id)
    if payload is None:
        raise _interval_error(
            run_id,
            "the final record of this run is missing, so that the times of its job are unknown;"
            " run the benchmark again",
        )
    final = parse_final(payload)
    if known.started_at == iso(final.started_unix_ns):
        # The evaluation took the start of the job, because the log had none of the interval.
        raise _interval_error(
            run_id,
            f"the measured interval of this run is unknown: its start, {known.started_at}, is that"
            " of its job, because LoadGen's detail log has no valid power_begin; run the benchmark"
            " again",
        )
    start_s = parse_iso(known.started_at) / 1e9
    job_start_s = final.started_unix_ns / 1e9
    times = RunTimes(
        job_start_s, start_s, start_s + known.duration_s, job_start_s + final.duration_ns / 1e9
    )
    return times, known


def _interval_error(run_id: str, what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.BAD_POWER_LOG, what, f"run {run_id}")
