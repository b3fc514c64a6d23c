"""Mode find-performance: short tests that find the settings for a performance run.

In Server it finds the highest rate at which LoadGen reports a run as VALID (`search.py` decides
which rates are tried). The other scenarios have no rate to search: a few tests measure the rate
(Offline) or the latency of a query (SingleStream, MultiStream), and each test expects the value
that the previous one measured. Every test is a LoadGen test in performance mode. The logs of one
test are kept as the logs of this run: those of the last valid test at the rate that was found, or
of the test with the median value. If no test was valid, the logs of the last test are kept, because
they say why.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_harness.calibrate import Calibration
from fleetmark_harness.exit_codes import LOADGEN_FAILED, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.loadgen_test import (
    DETAIL,
    LOGS,
    ObservedTest,
    Test,
    check_logs,
    read_details,
    read_settings,
)
from fleetmark_harness.progress import ProgressReporter
from fleetmark_harness.results import Measured
from fleetmark_harness.search import MAX_RUNS, Search, SearchTrial, middle
from fleetmark_harness.settings import (
    RequestedSettings,
    expected_ms,
    expected_samples,
    latency_limit_ms,
    retarget,
    server_rate,
    user_conf,
    wanted_of,
)
from fleetmark_harness.task import Task

FORMAT = 1
LONGEST_MS = 10_000
"""Maximum duration of a test; shorter profiles use their own duration."""
REPEATS, MOST_REPEATS = 3, 5
"""Number of valid tests in scenarios without a rate search, and maximum number of tests for them.
"""
_ABOVE = 1.1
"""Highest rate to try, relative to the calibrated rate, which is from the fast end already."""
_TIME_SHARE = 0.5
"""No test begins after this share of the profile's time limit."""
_FOLDER, _SAMPLES = "search", "samples"
_UNITS = {"Server": "queries_per_s", "Offline": "samples_per_s"}
_STREAM_UNIT = "ms_per_query"
_PERCENTILES = {
    "SingleStream": "result_90.00_percentile_latency_ns",
    "MultiStream": "result_99.00_percentile_per_query_latency_ns",
    "Server": "result_99.00_percentile_latency_ns",
    "Offline": "result_99.00_percentile_latency_ns",
}
_MEASURED = {
    "SingleStream": ("result_mean_latency_ns", 1e-6),
    "MultiStream": ("result_mean_query_latency_ns", 1e-6),
    "Server": ("result_completed_samples_per_sec", 1.0),
    "Offline": ("result_samples_per_second", 1.0),
}
_CHECKS = {
    "result_perf_constraints_met": "latency constraint not met",
    "early_stopping_met": "too few queries for early stopping",
    "result_min_duration_met": "minimum duration not reached",
    "result_min_queries_met": "minimum query count not reached",
}


@dataclass(frozen=True)
class _FinishedTrial:
    """A finished test: its outcome and the folder of its logs.

    The samples of `ran` are stored in that folder: the samples of many tests are not kept in
    memory.
    """

    trial: SearchTrial
    ran: ObservedTest
    folder: Path


def find(
    loadgen: Any,
    job: JobSpec,
    task: Task,
    calibration: Calibration,
    batch_size: int,
    progress: ProgressReporter,
) -> Measured:
    """Run the tests, keep the logs of one of them, and return the result.

    Raises:
        JobError: LOADGEN_FAILED, NO_SPACE, BAD_JOB.
        OSError: the logs cannot be written.
    """
    table = job.profile_settings[job.scenario]
    wanted = wanted_of(job)
    wanted = replace(wanted, min_duration_ms=min(wanted.min_duration_ms, LONGEST_MS))
    settings = read_settings(loadgen, job, user_conf(job.scenario, table, calibration, wanted))
    tests: list[_FinishedTrial] = []

    def test(target: float) -> SearchTrial:
        folder = job.out / _FOLDER / f"{len(tests) + 1:02}"
        folder.mkdir(parents=True)
        run_settings = _test_settings(job.scenario, wanted, target)
        retarget(settings, job.scenario, target, batch_size)
        expected = expected_samples(job.scenario, calibration, run_settings)
        one = Test(loadgen, job, task, batch_size, expected)
        ran = one.run(settings, folder)
        check_logs(folder, accuracy=False)
        trial = outcome(folder / DETAIL, job.scenario, target)
        ran.samples.tofile(folder / _SAMPLES)
        tests.append(_FinishedTrial(trial, replace(ran, samples=ran.samples[:0].copy()), folder))
        progress.report("search", len(tests), MAX_RUNS)
        return trial

    end_s = time.monotonic() + _TIME_SHARE * float(job.profile_settings["timeout_s"])
    progress.report("search", 0, MAX_RUNS)
    if job.scenario == "Server":
        found = _highest_rate(test, calibration, wanted, end_s)
    else:
        found = _in_the_middle(test, _first_target(job.scenario, calibration, wanted), end_s)
    kept = _kept(tests, job.scenario, found)
    samples = np.fromfile(kept.folder / _SAMPLES, np.int64)
    for name in LOGS:
        shutil.move(kept.folder / name, job.out / name)
    shutil.rmtree(job.out / _FOLDER)
    return Measured(
        query_count=kept.ran.query_count,
        sample_count=kept.ran.sample_count,
        samples=samples,
        calibration=calibration,
        accuracy=None,
        user_conf=user_conf(
            job.scenario,
            table,
            calibration,
            _test_settings(job.scenario, wanted, kept.trial.target),
        ),
        audit_config="",
        start_unix_ns=kept.ran.start_unix_ns,
        duration_ns=kept.ran.duration_ns,
        short_batches=kept.ran.short_batches,
        search={
            "format": FORMAT,
            "unit": _UNITS.get(job.scenario, _STREAM_UNIT),
            "found": found,
            "latency_limit_ms": latency_limit_ms(table, wanted)
            if job.scenario == "Server"
            else None,
            "kept": tests.index(kept) + 1,
            "runs": [asdict(one.trial) for one in tests],
        },
    )


def _test_settings(scenario: str, wanted: RequestedSettings, target: float) -> RequestedSettings:
    """Return the settings of one test. In Server the latency is a limit and does not change."""
    if scenario in _UNITS:
        return replace(wanted, target_qps=target)
    return replace(wanted, target_latency_ms=target)


def _first_target(scenario: str, calibration: Calibration, wanted: RequestedSettings) -> float:
    if scenario == "Offline":
        return wanted.target_qps or calibration.samples_per_s
    return expected_ms(calibration, wanted)


def _highest_rate(
    test: Callable[[float], SearchTrial],
    calibration: Calibration,
    wanted: RequestedSettings,
    end_s: float,
) -> float | None:
    ceiling = calibration.samples_per_s * _ABOVE
    search = Search(min(server_rate(calibration, wanted), ceiling), ceiling)
    while (rate := search.next_rate()) is not None:
        search = search.record(test(rate))
        if time.monotonic() > end_s:
            break
    return search.found


def _in_the_middle(
    test: Callable[[float], SearchTrial], target: float, end_s: float
) -> float | None:
    trials: list[SearchTrial] = []
    while len(trials) < MOST_REPEATS and sum(trial.valid for trial in trials) < REPEATS:
        trials.append(test(target))
        target = trials[-1].measured or target
        if time.monotonic() > end_s:
            break
    best = middle(trials)
    return best.measured if best else None


def _kept(tests: list[_FinishedTrial], scenario: str, found: float | None) -> _FinishedTrial:
    """Return the test whose logs are kept."""

    def is_it(trial: SearchTrial) -> bool:
        return trial.valid and found == (trial.target if scenario == "Server" else trial.measured)

    return next((one for one in reversed(tests) if is_it(one.trial)), tests[-1])


def outcome(detail: Path, scenario: str, target: float) -> SearchTrial:
    """Read the outcome of a test from LoadGen's detail log.

    Raises:
        JobError: LOADGEN_FAILED: a value is missing.
    """
    values = read_details(detail)
    try:
        name, factor = _MEASURED[scenario]
        per_query = "generated_samples_per_query" if scenario == "Offline" else ""
        samples = int(values["result_query_count"]) * int(values.get(per_query, 1))
        if scenario == "MultiStream":
            samples *= int(values["effective_samples_per_query"])
        failed = [text for key, text in _CHECKS.items() if values.get(key) is False]
        return SearchTrial(
            target=target,
            valid=values["result_validity"] == "VALID",
            why=", ".join(failed),
            samples=samples,
            percentile_ms=float(values[_PERCENTILES[scenario]]) / 1e6,
            measured=float(values[name]) * factor,
            duration_ms=int(values["effective_min_duration_ms"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise JobError(
            LOADGEN_FAILED, f"a value in LoadGen's log is missing or not valid: {error!r}"
        ) from error
