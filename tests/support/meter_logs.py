"""Made logs of power meters: the power that a run causes, as a meter would record it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleetmark_controller.evaluation.power_meter.alignment import RunTimes

Floats = NDArray[np.float64]
NOON_S = 1_790_000_000.0


@dataclass(frozen=True)
class MadePower:
    """Readings of a made run. `offset_s` is the meter's clock minus the device's clock."""

    times: Floats
    power: Floats
    run: RunTimes
    offset_s: float


def run_times(prepare_s: float, duration_s: float, finish_s: float) -> RunTimes:
    start = NOON_S + prepare_s
    return RunTimes(NOON_S, start, start + duration_s, start + duration_s + finish_s)


def made_power(seed: int, *, others: int = 0) -> MadePower:
    """Power of an idle device, of a run with its preparation, and of the idle device again.

    Rate, levels, noise, lengths, short peaks of the idle device and the work of the agent before
    and after the job are random. `others` is the number of further loads, which are like the run.
    """
    rng = np.random.default_rng(seed)
    run = run_times(rng.uniform(0.3, 8), rng.uniform(5, 60), rng.uniform(0.05, 1.5))
    rate = float(rng.choice([2, 5, 10, 50, 100, 500]))
    idle, load = rng.uniform(0.3, 5), rng.uniform(0.5, 6)
    before, after = rng.uniform(8, 25), rng.uniform(6, 20)
    span = before + (run.job_end_s - run.job_start_s) + after
    pause = rng.uniform(4, 10)
    whole = span + others * (run.duration_s + pause + 4)
    times = np.arange(round(whole * rate)) / rate + rng.uniform(0, 1 / rate)
    # Device time of a reading, if the log begins `before` the job.
    at = times - before + run.job_start_s
    power = np.full(times.size, idle)
    prepare = rng.uniform(0.2, 1.0)
    power[(at >= run.job_start_s) & (at < run.start_s)] += load * prepare
    busy_s = rng.uniform(0, 3) * rng.integers(0, 2)
    busy = (at >= run.job_start_s - busy_s) & (at < run.job_start_s)
    power[busy] += load * rng.uniform(0, 1.2)
    power[(at >= run.start_s) & (at < run.end_s)] += load
    power[(at >= run.end_s) & (at < run.job_end_s)] += load * rng.uniform(0, 1)
    agent_s = rng.uniform(0, 2.8)
    power[(at >= run.job_end_s) & (at < run.job_end_s + agent_s)] += load * rng.uniform(0, 0.8)
    for number in range(others):
        begin = run.job_start_s - before + span + number * (run.duration_s + pause)
        power[(at >= begin) & (at < begin + run.duration_s)] += load
    for _ in range(rng.integers(0, 4)):
        peak = run.job_start_s - before + rng.uniform(0, max(0.1, before - 1))
        power[(at >= peak) & (at < peak + 0.2)] += load * rng.uniform(0, 1)
    noise = load * rng.choice([0.01, 0.05, 0.15, 0.3])
    power += rng.normal(0, noise, times.size)
    begin_s = rng.uniform(-5, 5e4)
    return MadePower(times + begin_s, np.maximum(power, 0), run, begin_s + before - run.job_start_s)


def csv_text(times: Floats, power: Floats, heading: str = "Time (s),Main Avg Power (mW)") -> str:
    """A log in the format of PowerTool."""
    rows = (f"{at:.6f},{watts * 1000:.6f}\n" for at, watts in zip(times, power, strict=True))
    return f"{heading}\n{''.join(rows)}"
