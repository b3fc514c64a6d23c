"""Runs one job from its file to its results: warm up, calibrate, run under LoadGen, write."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

from fleetmark_harness import exit_codes
from fleetmark_harness.adapters import Adapter
from fleetmark_harness.calibrate import Calibration, calibrate, sample_time_ns
from fleetmark_harness.crosscheck import crosscheck
from fleetmark_harness.exit_codes import JobError
from fleetmark_harness.find_performance import find
from fleetmark_harness.job import CROSSCHECK, FIND, PROFILE_OPS, JobSpec, read_job
from fleetmark_harness.loadgen_run import measure
from fleetmark_harness.profile_pass import profile_operators
from fleetmark_harness.progress import ProgressReporter
from fleetmark_harness.results import (
    peak_memory_bytes,
    result_document,
    write_result,
    write_samples,
)
from fleetmark_harness.run_size import RunSize, fitting_batch, run_size, time_left_ns
from fleetmark_harness.settings import server_rate, wanted_of
from fleetmark_harness.sut import checked_answers, responses
from fleetmark_harness.task import Task, empty_answers

_T = TypeVar("_T")
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
    began_s = time.monotonic()
    loadgen = _import_loadgen()
    progress.report("load")
    batch_size = _batch_size(job, load)
    adapter, task = load(job, batch_size)
    if adapter.fixed_batch and job.scenario == "Offline":
        # Whole calls only: a call computes all its samples.
        whole = math.ceil(batch_size / adapter.samples_per_call) * adapter.samples_per_call
        if whole != batch_size:
            batch_size = whole
            del adapter, task  # two copies of a large model may not fit
            adapter, task = load(job, batch_size)
    load_memory_bytes = peak_memory_bytes()
    profile = job.profile_settings
    # SingleStream answers single samples, which it does not copy.
    respond = None if job.scenario == "SingleStream" else _responder(loadgen, task, batch_size)
    calibration = _checked_call(
        lambda: calibrate(
            task, batch_size, profile["warmup_ms"], profile["calibration_ms"], progress, respond
        )
    )
    if job.mode == FIND:
        measured = find(loadgen, job, task, calibration, batch_size, progress)
    elif job.mode == CROSSCHECK:
        left_s = job.limit_s - (time.monotonic() - began_s)
        measured = crosscheck(
            loadgen, job, adapter, task, calibration, batch_size, progress, left_s
        )
    else:
        left_ns = time_left_ns(job.limit_s, time.monotonic() - began_s)
        size = _size(job, calibration, left_ns) if job.mode == "performance" else None
        measured = measure(loadgen, job, task, calibration, size, progress, began_s)
    progress.report("write")
    write_samples(job, measured)
    document = result_document(job, adapter, measured, load_memory_bytes)
    if job.flag(PROFILE_OPS) and job.mode == "performance":
        del adapter, task, measured  # the profile opens the model a second time
        progress.report("profile")
        document["operators"] = profile_operators(job, load, batch_size)
    write_result(job, document)


def _batch_size(job: JobSpec, load: Load) -> int:
    """Return the batch size; a default is lowered for a model that is too slow for it."""
    batch_size = job.batch_size
    if job.scenario != "Offline" or job.mode == "accuracy" or "batch_size" in job.given:
        return batch_size
    if batch_size == 1:
        return 1
    left_ns = time_left_ns(job.limit_s, 0)
    _, task = load(job, 1)
    return fitting_batch(_checked_call(lambda: sample_time_ns(task)), batch_size, left_ns)


def _size(job: JobSpec, calibration: Calibration, left_ns: int) -> RunSize:
    profile = job.profile_settings
    query_ns = float(calibration.latency_ns)
    if job.scenario == "Server":
        query_ns = 1e9 / server_rate(calibration, wanted_of(job))
    elif job.scenario == "Offline":
        query_ns /= calibration.batch_size
    return run_size(
        job.scenario,
        profile[job.scenario],
        submittable=bool(profile.get("submittable")),
        query_ns=query_ns,
        batch_size=calibration.batch_size,
        left_ns=left_ns,
    )


def _responder(loadgen: Any, task: Task, count: int) -> Callable[[Any], object]:
    """Return a function that makes LoadGen's responses to a batch of `count` samples."""
    make, ids, like = loadgen.QuerySampleResponse, range(count), empty_answers(task, 1)
    return lambda answers: responses(make, ids, checked_answers(answers, count, like))


def _checked_call(call: Callable[[], _T]) -> _T:
    """Return the result of the first calls of a model.

    Raises:
        JobError: the model could be opened, but does not accept the data set's samples.
    """
    try:
        return call()
    except JobError:
        raise
    except Exception as error:
        raise JobError(
            exit_codes.code_of(error, exit_codes.BAD_INPUT),
            f"the model does not run on the data set: {exit_codes.one_line(error)}",
        ) from error


def _import_loadgen() -> Any:
    try:
        return importlib.import_module("mlperf_loadgen")
    except ImportError as error:
        raise JobError(exit_codes.NO_RUNTIME, f"LoadGen cannot be loaded: {error}") from error
