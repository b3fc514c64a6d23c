"""Runs one job from its file to its results: warm up, calibrate, run under LoadGen, write."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

from fleetmark_harness import exit_codes
from fleetmark_harness.adapters import Adapter
from fleetmark_harness.calibrate import Calibration, calibrate
from fleetmark_harness.exit_codes import JobError
from fleetmark_harness.find_performance import find
from fleetmark_harness.job import FIND, JobSpec, read_job
from fleetmark_harness.loadgen_test import Test, check_logs, read_settings
from fleetmark_harness.progress import ProgressReporter
from fleetmark_harness.results import Measured, write_results
from fleetmark_harness.settings import audit_config, expected_samples, user_conf, wanted_of
from fleetmark_harness.task import Task

Load = Callable[[JobSpec, int], tuple[Adapter, Task]]
"""A program's function that loads the runtime and the task for a job and a batch size."""


def main(load: Load) -> int:
    """Run the job that the environment names and return the exit code. Never raises."""
    try:
        run(read_job(), load, ProgressReporter())
    except BaseException as error:
        exit_codes.report_error(error, "job failed")
        return exit_codes.code_of(error, exit_codes.FAULT)
    return exit_codes.DONE


def run(job: JobSpec, load: Load, progress: ProgressReporter) -> None:
    """Run `job` and write its results into its folder.

    Raises:
        JobError: its exit code says what is wrong.
        OSError: a result cannot be written.
    """
    loadgen = _import_loadgen()
    batch_size = job.batch_size
    progress.report("load")
    adapter, task = load(job, batch_size)
    if adapter.fixed_batch and job.scenario == "Offline":
        # Whole calls only: a call computes all its samples.
        whole = math.ceil(batch_size / adapter.samples_per_call) * adapter.samples_per_call
        if whole != batch_size:
            batch_size = whole
            adapter, task = load(job, batch_size)
    profile = job.profile_settings
    try:
        calibration = calibrate(
            task, batch_size, profile["warmup_ms"], profile["calibration_ms"], progress
        )
    except JobError:
        raise
    except Exception as error:
        # The model could be opened, but does not accept this data set's samples.
        raise JobError(
            exit_codes.code_of(error, exit_codes.BAD_INPUT),
            f"the model does not run on the data set: {exit_codes.one_line(error)}",
        ) from error
    measure = find if job.mode == FIND else _measure
    measured = measure(loadgen, job, task, calibration, batch_size, progress)
    progress.report("write")
    write_results(job, adapter, measured)


def _measure(
    loadgen: Any,
    job: JobSpec,
    task: Task,
    calibration: Calibration,
    batch_size: int,
    progress: ProgressReporter,
) -> Measured:
    wanted = wanted_of(job)
    table = job.profile_settings[job.scenario]
    text = user_conf(job.scenario, table, calibration, wanted)
    audit = audit_config(job.audit) if job.audit else ""
    settings = read_settings(loadgen, job, text)
    accuracy_mode = job.mode == "accuracy"
    expected = (
        task.total_count if accuracy_mode else expected_samples(job.scenario, calibration, wanted)
    )
    total = task.total_count if accuracy_mode else wanted.min_duration_ms
    test = Test(loadgen, job, task, batch_size, expected)

    def done() -> int:
        return test.answered if accuracy_mode else min(total, test.lasted_ms)

    with progress.watching("run", done, total):
        ran = test.run(settings, job.out, audit)
    check_logs(job.out, accuracy=accuracy_mode)
    return Measured(
        query_count=ran.query_count,
        sample_count=ran.sample_count,
        samples=ran.samples,
        calibration=calibration,
        accuracy=task.score(test.answers) if accuracy_mode else None,
        user_conf=text,
        audit_config=audit,
        start_unix_ns=ran.start_unix_ns,
        duration_ns=ran.duration_ns,
        short_batches=ran.short_batches,
    )


def _import_loadgen() -> Any:
    try:
        return importlib.import_module("mlperf_loadgen")
    except ImportError as error:
        raise JobError(exit_codes.NO_RUNTIME, f"LoadGen cannot be loaded: {error}") from error
