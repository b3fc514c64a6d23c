"""Predict a job's memory from the peaks of earlier runs. Pure.

A peak counts for a job with the same lockfile on a like device. A device is *like* another if its
architecture and its number of usable cores are equal:

- The lockfile fixes the version and build of the runtime, the model and the harness.
- The architecture decides which kernels the runtime has, and how they pack the weights.
- The runtimes start one thread per usable core by default. Each thread has its own scratch memory,
  and its own arena in the C library.
- The size of the device's memory does not count: no runtime of the catalog sizes its buffers by it.
  So what an 8 GB device has shown protects a 4 GB device of the same model.

The prediction is `max(L, min(U, H))`. All three are upper bounds or limits that do not decrease as
the batch grows, so the prediction does not either:

- `U` is the estimate of `fleetmark_core.resource_model`. Its part without LoadGen's queries is
  multiplied by the largest factor by which a run of the lockfile exceeded the estimate. A run that
  was killed raises only runs with equal parameters and a batch of its size or larger: a batch that
  does not fit says nothing about a smaller one, and a parameter may be why it did not fit.
- `L` is the largest bound of all runs with the same scenario, mode, profile and parameters, and a
  batch of the same size or smaller.
- `H` is the lowest bound of all completed runs with the same scenario, mode, profile and
  parameters, and a batch of the same size or larger, plus LoadGen's queries: a device that is
  faster than those that were measured creates more of them.

The bound of a run is its peak times `MEASURED_MARGIN`. A run that was killed for memory needed more
than the limit under which it died: its bound is that limit times `KILLED_MARGIN`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from fleetmark_core.digest import canonical_json
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.resource_model import MemorySource, ResourceNeeds, Run, batch_size, predict

MEASURED_MARGIN = 1.1
"""Peaks of equal runs differ: threads meet in other orders, and the allocator reuses less."""
KILLED_MARGIN = 1.25
"""What a killed run still needed is unknown. Each further kill raises the bound by this factor."""
_BATCH = "batch_size"


@dataclass(frozen=True)
class MemoryKey:
    """Key of the peaks that count for a job: its lockfile, and what like devices have in common."""

    lock_sha256: str
    arch: str
    cores: int


@dataclass(frozen=True)
class MemoryPeak:
    """The peak memory of a run, or the limit under which a run was killed for memory."""

    run: Run
    peak_bytes: int
    killed: bool = False

    @property
    def bound_bytes(self) -> int:
        """The memory that an equal run is expected to need at most."""
        return ceil(self.peak_bytes * (KILLED_MARGIN if self.killed else MEASURED_MARGIN))


MemoryHistory = Mapping[MemoryKey, Sequence[MemoryPeak]]
"""The greatest peaks of all runs."""


def predict_from_history(
    lock: Lockfile, run: Run, latency_ns: int, peaks: Iterable[MemoryPeak]
) -> ResourceNeeds:
    """Return what `run` of `lock` needs, by the estimate and by earlier runs.

    Args:
        lock: the lockfile.
        run: scenario, mode, profile and parameters.
        latency_ns: as for `resource_model.predict`.
        peaks: peaks of runs of the same lockfile on like devices.
    """
    needs = predict(lock, run, latency_ns)
    batch, asked = batch_size(lock, run), _identity(lock, run)
    factor, lower, is_measured = 1.0, 0, False
    upper: int | None = None
    for peak in peaks:
        measured_batch, bound = batch_size(lock, peak.run), peak.bound_bytes
        is_alike = _identity(lock, peak.run) == asked
        if not peak.killed or (is_alike and measured_batch <= batch):
            factor = max(factor, _excess(predict(lock, peak.run, latency_ns), peak))
        if not is_alike:
            continue
        if measured_batch <= batch:
            lower = max(lower, bound)
        if measured_batch >= batch and not peak.killed:
            most = bound + needs.loadgen_bytes
            upper = most if upper is None else min(upper, most)
        is_measured = is_measured or (measured_batch == batch and not peak.killed)
    memory = needs.loadgen_bytes + ceil((needs.memory_bytes - needs.loadgen_bytes) * factor)
    memory = max(lower, memory if upper is None else min(memory, upper))
    if not is_measured and memory == needs.memory_bytes:
        return needs
    return replace(needs, memory_bytes=memory, memory_source=MemorySource.MEASURED)


def run_text(run: Run) -> str:
    """Return a run as text that is equal for equal runs; `parse_run` reads it."""
    values = {
        "scenario": run.scenario,
        "mode": run.mode,
        "profile": run.profile,
        "parameters": dict(run.parameters),
    }
    return canonical_json(values).decode()


def parse_run(text: str) -> Run:
    """Return the run that `run_text` wrote."""
    values = json.loads(text)
    parameters = values["parameters"]
    return Run(
        values["scenario"],
        values["mode"],
        values["profile"],
        parameters if isinstance(parameters, dict) else {},
    )


def _excess(estimate: ResourceNeeds, peak: MemoryPeak) -> float:
    """Return the factor by which a run exceeded its estimate, LoadGen's queries left out; 1: no."""
    fixed = estimate.memory_bytes - estimate.loadgen_bytes
    if peak.peak_bytes <= estimate.memory_bytes or fixed <= 0:
        return 1.0
    return max(1.0, (peak.bound_bytes - estimate.loadgen_bytes) / fixed)


def _identity(lock: Lockfile, run: Run) -> tuple[str, str, str, bytes]:
    """Return what must be equal for runs to differ in their batch alone."""
    defaults: Any = lock.job.get("defaults", {})
    complete = {**(defaults if isinstance(defaults, dict) else {}), **run.parameters}
    complete.pop(_BATCH, None)
    return run.scenario, run.mode, run.profile, canonical_json(complete)
