"""Runs the LoadGen test of a job in mode performance, in mode accuracy, or of a compliance test.

LoadGen creates its queries before a performance test, from the latency or rate that the calibration
measured. If the device becomes much faster afterwards, because another load ended or its clock
rose, the queries are used up before the minimum duration, and the test is INVALID. Such a test is
repeated with the speed that it measured; only the last test is the result.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleetmark_harness.calibrate import Calibration
from fleetmark_harness.job import JobSpec
from fleetmark_harness.loadgen_test import (
    DETAIL,
    ObservedTest,
    Test,
    check_logs,
    read_details,
    read_settings,
)
from fleetmark_harness.progress import ProgressReporter
from fleetmark_harness.results import Measured
from fleetmark_harness.run_size import RunSize, time_left_ns
from fleetmark_harness.settings import (
    RequestedSettings,
    audit_config,
    expected_ms,
    expected_samples,
    retarget,
    user_conf,
    wanted_of,
)
from fleetmark_harness.task import Task

MAX_TESTS = 3
# The next test expects a speed this much above the measured one.
_SPEED_MARGIN = 1.25
# A test is repeated only if this many times the minimum duration is left. The margins make the next
# test longer than the minimum duration.
_LEFT_DURATIONS = 2.0


def measure(
    loadgen: Any,
    job: JobSpec,
    task: Task,
    calibration: Calibration,
    size: RunSize | None,
    progress: ProgressReporter,
    began_s: float,
) -> Measured:
    """Run the test, and repeat it if it is too short.

    Args:
        loadgen: the module of LoadGen.
        job: the job.
        task: the loaded task.
        calibration: the measured latency.
        size: planned size of a performance run; None in other modes.
        progress: receives the progress.
        began_s: monotonic time at which the job began.

    Raises:
        JobError: LOADGEN_FAILED, NO_SPACE, BAD_JOB.
        OSError: the logs cannot be written.
    """
    wanted = wanted_of(job)
    table = job.profile_settings[job.scenario]
    count = size.count if size is not None else None
    text = user_conf(job.scenario, table, calibration, wanted, count)
    audit = audit_config(job.audit) if job.audit else ""
    settings = read_settings(loadgen, job, text)
    tests = 1
    test, ran = _run_test(loadgen, job, task, calibration, wanted, settings, audit, progress)
    while tests < MAX_TESTS and _may_repeat(job, wanted, began_s) and is_too_short(job.out):
        calibration = faster(job.scenario, calibration, ran)
        sys.stderr.write(
            "fleetmark: LoadGen test repeated, because the device was faster than in its "
            f"calibration: {ran.sample_count} samples took {ran.duration_ns / 1e9:.3g} s of at "
            f"least {wanted.min_duration_ms / 1e3:.3g} s\n"
        )
        text = user_conf(job.scenario, table, calibration, wanted, count)
        if job.scenario == "Offline":
            least = count or int(table.get("min_query_count", 1))
            retarget(settings, "Offline", calibration.samples_per_s, calibration.batch_size, least)
        else:
            retarget(settings, job.scenario, expected_ms(calibration, wanted), 1)
        test, ran = _run_test(loadgen, job, task, calibration, wanted, settings, audit, progress)
        tests += 1
    return Measured(
        query_count=ran.query_count,
        sample_count=ran.sample_count,
        samples=ran.samples,
        calibration=calibration,
        accuracy=task.score(test.answers) if job.mode == "accuracy" else None,
        user_conf=text,
        audit_config=audit,
        start_unix_ns=ran.start_unix_ns,
        duration_ns=ran.duration_ns,
        short_batches=ran.short_batches,
        size=size,
        repeated_tests=tests - 1,
    )


def _run_test(
    loadgen: Any,
    job: JobSpec,
    task: Task,
    calibration: Calibration,
    wanted: RequestedSettings,
    settings: Any,
    audit: str,
    progress: ProgressReporter,
) -> tuple[Test, ObservedTest]:
    accuracy_mode = job.mode == "accuracy"
    expected = (
        task.total_count if accuracy_mode else expected_samples(job.scenario, calibration, wanted)
    )
    total = task.total_count if accuracy_mode else wanted.min_duration_ms
    test = Test(loadgen, job, task, calibration.batch_size, expected)

    def done() -> int:
        return test.answered if accuracy_mode else min(total, test.lasted_ms)

    with progress.watching("run", done, total):
        ran = test.run(settings, job.out, audit)
    check_logs(job.out, accuracy=accuracy_mode)
    return test, ran


def _may_repeat(job: JobSpec, wanted: RequestedSettings, began_s: float) -> bool:
    """Return whether the job has time for another test, and lets the harness choose the speed."""
    if job.mode == "accuracy" or job.scenario == "Server":
        return False
    # A value that the operator gave stays, and LoadGen's verdict says that it does not fit.
    if (wanted.target_qps if job.scenario == "Offline" else wanted.target_latency_ms) is not None:
        return False
    left_ns = time_left_ns(job.limit_s, time.monotonic() - began_s)
    return left_ns >= _LEFT_DURATIONS * wanted.min_duration_ms * 1e6


def is_too_short(folder: Path) -> bool:
    """Return whether LoadGen reports that the test ended before its minimum duration."""
    return read_details(folder / DETAIL).get("result_min_duration_met") is False


def faster(scenario: str, calibration: Calibration, ran: ObservedTest) -> Calibration:
    """Return the calibration with the latency that a test measured, or a lower one.

    Args:
        scenario: the scenario.
        calibration: the one with which the test was too short.
        ran: the test.
    """
    if scenario == "Offline":
        measured_ns = ran.duration_ns / max(1, ran.sample_count) * calibration.batch_size
    else:
        measured_ns = ran.duration_ns / max(1, ran.query_count)
    latency_ns = min(measured_ns, calibration.latency_ns) / _SPEED_MARGIN
    return replace(calibration, latency_ns=max(1, int(latency_ns)))
