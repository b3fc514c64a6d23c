"""One job from its file to its results: warm up, calibrate, run under LoadGen, write."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_harness import exits
from fleetmark_harness.adapters import Adapter
from fleetmark_harness.calibrate import Calibration, calibrate
from fleetmark_harness.exits import JobError
from fleetmark_harness.job import Job, read_job
from fleetmark_harness.progress import Progress
from fleetmark_harness.results import Measured, write_results
from fleetmark_harness.settings import (
    AUDIT_CONFIG,
    USER_CONF,
    Wanted,
    audit_config,
    expected_samples,
    test_settings,
    user_conf,
)
from fleetmark_harness.sut import InlineSut, Library, QuerySut, Sut, WorkerSut
from fleetmark_harness.task import Task

Load = Callable[[Job, int], tuple[Adapter, Task]]
"""A program's way from a job and a batch size to its loaded runtime and its task."""


def main(load: Load) -> int:
    """Run the job that the environment names; returns the exit code. Never raises."""
    try:
        run(read_job(), load, Progress())
    except BaseException as error:
        exits.complain(error, "job failed")
        return exits.code_of(error, exits.FAULT)
    return exits.DONE


def run(job: Job, load: Load, progress: Progress) -> None:
    """Run `job` and leave its results in its folder.

    Raises:
        JobError: with the exit code that says what was wrong.
        OSError: a result cannot be written.
    """
    loadgen = _import_loadgen()
    batch_size = job.batch_size
    progress.report("load")
    adapter, task = load(job, batch_size)
    profile = job.profile_settings
    try:
        calibration = calibrate(
            task, batch_size, profile["warmup_ms"], profile["calibration_ms"], progress
        )
    except JobError:
        raise
    except Exception as error:
        # The model opened, but does not take this data set's samples.
        raise JobError(
            exits.code_of(error, exits.BAD_INPUT),
            f"the model does not run on the data set: {error}",
        ) from error
    measured = _measure(loadgen, job, task, calibration, batch_size, progress)
    progress.report("write")
    write_results(job, adapter, measured)


def _measure(
    loadgen: Any,
    job: Job,
    task: Task,
    calibration: Calibration,
    batch_size: int,
    progress: Progress,
) -> Measured:
    settings_table = job.profile_settings[job.scenario]
    wanted = _wanted(job, settings_table)
    min_duration_ms = wanted.min_duration_ms
    text = user_conf(job.scenario, settings_table, calibration, wanted)
    audit = audit_config(job.audit) if job.audit else ""
    conf = job.out / USER_CONF
    conf.write_text(text)
    model = str(job.table("benchmark").get("model") or "*")
    settings = test_settings(loadgen, conf, model, job.scenario, job.mode)
    conf.unlink()
    accuracy_mode = job.mode == "accuracy"
    expected = (
        task.total_count if accuracy_mode else expected_samples(job.scenario, calibration, wanted)
    )
    library = Library(task)
    answers = np.full(task.total_count, -1, np.int32)
    sut: Sut
    if job.scenario in ("Offline", "Server"):
        sut = WorkerSut(loadgen, task, library, answers, expected, batch_size)
    elif job.scenario == "MultiStream":
        sut = QuerySut(loadgen, task, library, answers, expected)
    else:
        sut = InlineSut(loadgen, task, library, answers, expected)
    started_unix_ns, started = time.time_ns(), time.perf_counter_ns()

    def done() -> int:
        if accuracy_mode:
            return sut.samples.count
        return min(min_duration_ms, (time.perf_counter_ns() - started) // 1_000_000)

    watched = progress.watching("run", done, task.total_count if accuracy_mode else min_duration_ms)
    with _audited(job.out, audit), watched:
        _start_test(loadgen, job.out, settings, sut, task, library)
    duration_ns = time.perf_counter_ns() - started
    sut.close()
    _check_logs(job)
    return Measured(
        query_count=sut.query_count,
        sample_count=sut.samples.count,
        samples=sut.samples.values(),
        calibration=calibration,
        accuracy=task.score(answers) if accuracy_mode else None,
        user_conf=text,
        audit_config=audit,
        start_unix_ns=started_unix_ns,
        duration_ns=duration_ns,
    )


def _start_test(
    loadgen: Any, out: Path, settings: Any, sut: Sut, task: Task, library: Library
) -> None:
    output = loadgen.LogOutputSettings()
    output.outdir = str(out)
    output.copy_summary_to_stdout = False
    log = loadgen.LogSettings()
    log.log_output = output
    log.enable_trace = False
    handle = loadgen.ConstructSUT(sut.issue, _flush)
    shelf = loadgen.ConstructQSL(
        task.total_count, task.performance_count, library.load, library.unload
    )
    try:
        loadgen.StartTestWithLogSettings(handle, shelf, settings, log)
    except Exception as error:
        raise JobError(exits.LOADGEN_FAILED, f"LoadGen failed: {error}") from error
    finally:
        loadgen.DestroyQSL(shelf)
        loadgen.DestroySUT(handle)


def _flush() -> None:
    """LoadGen's callback after its last query: nothing is held back here."""


def _import_loadgen() -> Any:
    try:
        return importlib.import_module("mlperf_loadgen")
    except ImportError as error:
        raise JobError(exits.NO_RUNTIME, f"LoadGen cannot be loaded: {error}") from error


@contextlib.contextmanager
def _audited(folder: Path, text: str) -> Iterator[None]:
    """With an audit.config in `folder`, if there is a text for it, as long as the body runs.

    LoadGen looks for it in the working directory, which a program may have been started in or not.
    """
    path = folder / AUDIT_CONFIG
    if text:
        path.write_text(text)
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        path.unlink(missing_ok=True)


def _wanted(job: Job, settings_table: Any) -> Wanted:
    override = job.positive("min_duration_s")
    ms = int(settings_table["min_duration_ms"]) if override is None else int(override * 1000)
    return Wanted(max(1, ms), job.positive("target_qps"), job.positive("target_latency_ms"))


def _check_logs(job: Job) -> None:
    """LoadGen does not say when it cannot write: look whether its logs are whole."""
    summary = job.out / "mlperf_log_summary.txt"
    detail = job.out / "mlperf_log_detail.txt"
    answers = job.out / "mlperf_log_accuracy.json"
    marker = b"loadgen_version" if job.mode == "accuracy" else b"result_validity"
    try:
        log = detail.read_bytes()
        whole = (
            marker in log
            and log.endswith(b"}\n")
            and answers.read_bytes().rstrip().endswith(b"]")
            and summary.stat().st_size > 0
        )
    except OSError:
        whole = False
    if whole:
        return
    if shutil.disk_usage(job.out).free < 1 << 20:
        raise JobError(exits.NO_SPACE, f"no space left for LoadGen's logs in {job.out}")
    raise JobError(exits.LOADGEN_FAILED, "LoadGen left no complete logs")
