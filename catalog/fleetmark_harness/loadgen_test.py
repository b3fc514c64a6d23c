"""One LoadGen test: its settings, its system under test, and the logs that it writes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fleetmark_harness.exit_codes import LOADGEN_FAILED, NO_SPACE, JobError
from fleetmark_harness.job import JobSpec
from fleetmark_harness.settings import AUDIT_CONFIG, USER_CONF, test_settings
from fleetmark_harness.sut import InlineSut, Library, QuerySut, Sut, TimedWorkerSut, WorkerSut
from fleetmark_harness.task import Task, empty_answers

SUMMARY, DETAIL = "mlperf_log_summary.txt", "mlperf_log_detail.txt"
ANSWERS = "mlperf_log_accuracy.json"
LOGS = (SUMMARY, DETAIL, ANSWERS)


@dataclass(frozen=True)
class ObservedTest:
    """The harness's own measurements of a test. `samples` are durations in nanoseconds."""

    query_count: int
    sample_count: int
    samples: npt.NDArray[np.int64]
    start_unix_ns: int
    duration_ns: int
    short_batches: Sequence[int] = ()
    """Sizes of the batches that had fewer samples than the batch size."""
    service_times: npt.NDArray[np.int64] | None = None
    """Durations of the worker's work on each sample in nanoseconds; None unless asked for."""


class Test:
    """A LoadGen test that can be run once."""

    def __init__(
        self,
        loadgen: Any,
        job: JobSpec,
        task: Task,
        batch_size: int,
        expected: int,
        *,
        timed: bool = False,
    ) -> None:
        """Set up the system under test.

        Args:
            loadgen: the module of LoadGen.
            job: the job.
            task: the loaded task.
            batch_size: number of samples per call.
            expected: approximate number of samples.
            timed: record service times; for Server, whose queries are one batch each. No result is
                measured with it.
        """
        self.answers = empty_answers(task, task.total_count)
        self._loadgen, self._task = loadgen, task
        self._library = Library(task)
        self._sut: Sut
        self._began = time.perf_counter_ns()
        parts = (loadgen, task, self._library, self.answers, expected)
        if job.scenario in ("Offline", "Server"):
            self._sut = (TimedWorkerSut if timed else WorkerSut)(*parts, batch_size)
        elif job.scenario == "MultiStream":
            self._sut = QuerySut(*parts)
        else:
            self._sut = InlineSut(*parts)

    @property
    def answered(self) -> int:
        """The number of samples that were answered so far."""
        return self._sut.samples.count

    @property
    def lasted_ms(self) -> int:
        """The time since the test began, in milliseconds."""
        return (time.perf_counter_ns() - self._began) // 1_000_000

    def run(self, settings: Any, out: Path, audit: str = "") -> ObservedTest:
        """Run the test.

        Args:
            settings: LoadGen's test settings.
            out: folder for LoadGen's logs.
            audit: text of an audit.config; empty for none.

        Raises:
            JobError: LOADGEN_FAILED.
        """
        start_unix_ns, self._began = time.time_ns(), time.perf_counter_ns()
        with _audited(out, audit):
            self._start(settings, out)
        duration_ns = time.perf_counter_ns() - self._began
        sut = self._sut
        sut.close()
        return ObservedTest(
            query_count=sut.query_count,
            sample_count=sut.samples.count,
            samples=sut.samples.values(),
            start_unix_ns=start_unix_ns,
            duration_ns=duration_ns,
            short_batches=sut.short_batches,
            service_times=sut.service_times.values() if isinstance(sut, TimedWorkerSut) else None,
        )

    def _start(self, settings: Any, out: Path) -> None:
        loadgen, task, library = self._loadgen, self._task, self._library
        output = loadgen.LogOutputSettings()
        output.outdir = str(out)
        output.copy_summary_to_stdout = False
        log = loadgen.LogSettings()
        log.log_output = output
        log.enable_trace = False
        handle = loadgen.ConstructSUT(self._sut.issue, _flush)
        shelf = loadgen.ConstructQSL(
            task.total_count, task.performance_count, library.load, library.unload
        )
        try:
            loadgen.StartTestWithLogSettings(handle, shelf, settings, log)
        except Exception as error:
            raise JobError(LOADGEN_FAILED, f"LoadGen failed: {error}") from error
        finally:
            loadgen.DestroyQSL(shelf)
            loadgen.DestroySUT(handle)


def _flush() -> None:
    """Do nothing: LoadGen calls this after its last query, and no query is held back."""


def read_settings(loadgen: Any, job: JobSpec, text: str) -> Any:
    """Return LoadGen's settings from the text of a user.conf.

    Call it once per process: see `test_settings`.

    Raises:
        JobError: LOADGEN_FAILED.
    """
    conf = job.out / USER_CONF
    conf.write_text(text)
    model = str(job.table("benchmark").get("model") or "*")
    try:
        return test_settings(loadgen, conf, model, job.scenario, job.mode)
    finally:
        conf.unlink()


@contextlib.contextmanager
def _audited(folder: Path, text: str) -> Iterator[None]:
    """Hold an audit.config in `folder` while the body runs, if `text` is not empty.

    LoadGen looks for it in the working directory, which is not always `folder`, so the working
    directory is changed as well.
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


def read_details(detail: Path) -> dict[str, Any]:
    """Return the first value of each key in LoadGen's detail log.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is not valid.
    """
    prefix = b":::MLLOG "
    values: dict[str, Any] = {}
    for line in detail.read_bytes().splitlines():
        if line.startswith(prefix):
            entry = json.loads(line[len(prefix) :])
            values.setdefault(entry["key"], entry["value"])
    return values


def check_logs(out: Path, *, accuracy: bool) -> None:
    """Verify that LoadGen's logs are complete, because LoadGen does not report write errors.

    Raises:
        JobError: NO_SPACE or LOADGEN_FAILED: they are not complete.
    """
    marker = b"loadgen_version" if accuracy else b"result_validity"
    try:
        log = (out / DETAIL).read_bytes()
        whole = (
            marker in log
            and log.endswith(b"}\n")
            and (out / ANSWERS).read_bytes().rstrip().endswith(b"]")
            and (out / SUMMARY).stat().st_size > 0
        )
    except OSError:
        whole = False
    if whole:
        return
    if shutil.disk_usage(out).free < 1 << 20:
        raise JobError(NO_SPACE, f"no space left for LoadGen's logs in {out}")
    raise JobError(LOADGEN_FAILED, "LoadGen's logs are missing or incomplete")
