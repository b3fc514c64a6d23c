"""The pass after the measured run in which the runtime records each operator."""

from __future__ import annotations

import gc
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_harness.adapters import Adapter
from fleetmark_harness.exit_codes import one_line
from fleetmark_harness.job import JobSpec
from fleetmark_harness.operators import (
    TRACE_FILE,
    ProfileUnavailable,
    chrome_trace,
    operator_calls,
)
from fleetmark_harness.results import write_durably
from fleetmark_harness.task import Task

_BATCHES = 5
_LIMIT_S = 2.0
"""No further batch begins after this time."""


def profile_operators(
    job: JobSpec, load: Callable[[JobSpec, int], tuple[Adapter, Task]], batch_size: int
) -> dict[str, Any]:
    """Open the model again, record the operators of a few batches, and write the trace.

    A fault does not fail the job: its measured figures are complete.

    Returns:
        The entry `operators` of result.json: the time at which the pass began, and the reason if
        there is no profile.
    """
    began = time.time_ns()
    gc.collect()
    try:
        folder = Path(tempfile.mkdtemp(prefix="profile-", dir=job.out))
        try:
            _profile(replace(job, profile_folder=folder), load, batch_size)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except Exception as error:
        (job.out / TRACE_FILE).unlink(missing_ok=True)
        return {"start_unix_ns": began, "unavailable": one_line(error)}
    return {"start_unix_ns": began, "unavailable": None}


def _profile(
    job: JobSpec, load: Callable[[JobSpec, int], tuple[Adapter, Task]], batch_size: int
) -> None:
    adapter, task = load(job, batch_size)
    indices = np.arange(batch_size, dtype=np.int64) % task.performance_count
    batch = task.prepare(indices)
    # The first batch is a warm-up.
    task.run(batch)
    batches, end_s = 0, time.monotonic() + _LIMIT_S
    while batches < _BATCHES and (not batches or time.monotonic() < end_s):
        task.run(batch)
        batches += 1
    calls = operator_calls(adapter)
    # A program may call the model several times per batch.
    per_batch, rest = divmod(len(calls), batches + 1)
    if rest or not per_batch:
        raise ProfileUnavailable(
            f"the profile has {len(calls)} calls of the model for {batches + 1} batches"
        )
    about = {"runtime": f"{job.table('runtime').get('package')} {adapter.version}"}
    write_durably(job.out / TRACE_FILE, chrome_trace(calls[per_batch:], about))
