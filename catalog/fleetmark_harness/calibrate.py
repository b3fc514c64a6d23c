"""Warm-up and calibration, before LoadGen starts its clock.

LoadGen creates its queries before the run, from an expected latency or rate. If the expected
latency is too high (the rate too low), the run ends as INVALID; if it is too low, memory is wasted.
Therefore the latency is measured, and a value from the fast end of the measured latencies is used.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fleetmark_harness.progress import ProgressReporter
from fleetmark_harness.task import Task

_MIN_RUNS = 8
_MAX_RUNS = 100_000
# Slow batches run fewer than _MIN_RUNS times: after this many times the limit, 2 runs are enough,
# and a single one after _SLOW_MS.
_PATIENCE = 5
_SLOW_MS = 10_000
# Number of distinct samples in the rotating batches, unless one batch is larger: enough that the
# model does not get the same samples each time, with little memory besides the samples themselves.
_KEPT_SAMPLES = 64
_QUICK_QUANTILE = 0.05


@dataclass(frozen=True)
class Calibration:
    """The result of a calibration.

    `latency_ns` is the latency of one batch of `batch_size` samples, at the fast end of `run_count`
    runs.
    """

    latency_ns: int
    batch_size: int
    run_count: int
    warmup_count: int
    nonfinite_outputs: bool = False
    """True if an output of the last warm-up call has NaN or infinite values."""
    first_ns: int = 0
    """Duration of the first call, which is a part of the warm-up."""
    warmup_ns: int = 0
    """Duration of the warm-up."""
    steady_ns: int = 0
    """Median duration of a call after the warm-up."""

    @property
    def samples_per_s(self) -> float:
        """The rate that corresponds to the latency."""
        return self.batch_size * 1e9 / self.latency_ns


def calibrate(
    task: Task,
    batch_size: int,
    warmup_ms: int,
    calibration_ms: int,
    progress: ProgressReporter,
    respond: Callable[[Any], object] | None = None,
) -> Calibration:
    """Run batches of the first samples for the given times, and measure the latency of a batch.

    Each phase has at least two calls, or one if a call takes longer than 10 s.

    Args:
        task: the loaded task.
        batch_size: number of samples per call.
        warmup_ms: duration of the warm-up.
        calibration_ms: duration of the measurement.
        progress: receives the progress.
        respond: work on the answers to a batch that belongs to its latency. With it, the samples
            of a batch are also copied as in a query; None: single samples, which are not copied.
    """
    count = min(task.performance_count, max(_KEPT_SAMPLES, batch_size))
    data = task.prepare(np.arange(count, dtype=np.int64))
    chosen = np.arange(batch_size) % count
    turns = min(count, max(2, _KEPT_SAMPLES // batch_size))
    places = [(chosen + turn * batch_size) % count for turn in range(turns)]
    batches = [data[place] for place in places] if respond is None else []

    outputs: Any = None

    def repeat(phase: str, limit_ms: int) -> list[int]:
        nonlocal outputs
        taken: list[int] = []
        begin = time.perf_counter_ns()
        while len(taken) < _MAX_RUNS:
            start = time.perf_counter_ns()
            turn = len(taken) % turns
            if respond is None:
                outputs = task.run(batches[turn])
                task.answer(outputs)
            else:
                outputs = task.run(data[places[turn]])
                respond(task.answer(outputs))
            end = time.perf_counter_ns()
            taken.append(end - start)
            spent = (end - begin) / 1_000_000
            enough = _enough_runs(spent, limit_ms)
            if spent >= limit_ms and len(taken) >= enough:
                break
            progress.report(phase, (end - begin) // 1_000_000, limit_ms)
        return taken

    warmup = repeat("warmup", warmup_ms)
    nonfinite = _has_nonfinite(outputs)
    durations = repeat("calibrate", calibration_ms)
    latency_ns = max(1, int(np.quantile(durations, _QUICK_QUANTILE)))
    return Calibration(
        latency_ns,
        batch_size,
        len(durations),
        len(warmup),
        nonfinite,
        first_ns=warmup[0],
        warmup_ns=sum(warmup),
        steady_ns=int(np.median(durations)),
    )


def sample_time_ns(task: Task) -> int:
    """Return the time of a call with one sample, after one call as a warm-up."""
    sample = task.prepare(np.arange(1, dtype=np.int64))
    task.answer(task.run(sample))
    start = time.perf_counter_ns()
    task.answer(task.run(sample))
    return time.perf_counter_ns() - start


def _enough_runs(spent_ms: float, limit_ms: int) -> int:
    if spent_ms < _PATIENCE * max(limit_ms, 200):
        return _MIN_RUNS
    return 2 if spent_ms < _SLOW_MS else 1


def _has_nonfinite(outputs: Any) -> bool:
    """Return whether an output has NaN or infinite values; a detector's outputs are lists."""
    if isinstance(outputs, (list, tuple)):
        return any(map(_has_nonfinite, outputs))
    values = np.asarray(outputs)
    return values.dtype.kind == "f" and not bool(np.isfinite(values).all())
