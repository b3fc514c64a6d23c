"""Warm-up and calibration, before LoadGen starts its clock.

LoadGen generates its queries beforehand from the latency or rate that it is told to expect: too
high a latency (too low a rate) ends in INVALID, the contrary costs memory. So the figure is
measured, and taken from the quick end of what was seen.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from fleetmark_harness.progress import Progress
from fleetmark_harness.task import Task

_MIN_RUNS = 8
_MAX_RUNS = 100_000
# Batches of seconds are run as often as this many times the limit holds, and at least twice.
_PATIENCE = 5
# Samples that the batches in turn hold together, where one batch is not larger: enough that the
# model does not see the same ones each time, and little memory beside the samples themselves.
_KEPT_SAMPLES = 64
_QUICK_QUANTILE = 0.05


@dataclass(frozen=True)
class Calibration:
    """`latency_ns` is that of one batch of `batch_size`, at the quick end of `run_count` runs."""

    latency_ns: int
    batch_size: int
    run_count: int
    warmup_count: int

    @property
    def samples_per_s(self) -> float:
        """The rate that the latency means."""
        return self.batch_size * 1e9 / self.latency_ns


def calibrate(
    task: Task, batch_size: int, warmup_ms: int, calibration_ms: int, progress: Progress
) -> Calibration:
    """Run batches of the first samples for the given times, at least a few each."""
    count = min(task.performance_count, max(_KEPT_SAMPLES, batch_size))
    data = task.prepare(np.arange(count, dtype=np.int64))
    chosen = np.arange(batch_size) % count
    turns = min(count, max(2, _KEPT_SAMPLES // batch_size))
    batches = [data[(chosen + turn * batch_size) % count] for turn in range(turns)]

    def repeat(phase: str, limit_ms: int) -> list[int]:
        taken: list[int] = []
        begin = time.perf_counter_ns()
        while len(taken) < _MAX_RUNS:
            start = time.perf_counter_ns()
            task.answer(task.run(batches[len(taken) % len(batches)]))
            end = time.perf_counter_ns()
            taken.append(end - start)
            spent = (end - begin) / 1_000_000
            enough = _MIN_RUNS if spent < _PATIENCE * max(limit_ms, 200) else 2
            if spent >= limit_ms and len(taken) >= enough:
                break
            progress.report(phase, (end - begin) // 1_000_000, limit_ms)
        return taken

    warmup = repeat("warmup", warmup_ms)
    durations = repeat("calibrate", calibration_ms)
    latency_ns = max(1, int(np.quantile(durations, _QUICK_QUANTILE)))
    return Calibration(latency_ns, batch_size, len(durations), len(warmup))
