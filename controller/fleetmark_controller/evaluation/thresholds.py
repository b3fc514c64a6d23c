"""Bounds and thresholds of an evaluation, in one place, each with its reason.

*Bounds* keep hostile files from costing memory or storing absurd figures (those of LoadGen's logs
stand in `loadgen.limits`); *thresholds* decide the quality verdict and may be set by a benchmark
component (`[benchmark.condition]`, the names of `Thresholds`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fleetmark_core.repeat_bounds import Bounds

MAX_RESULT_BYTES = 1 << 20
# All 60,000 records of CIFAR-10 are 184 MB.
MAX_RECORD_FILE_BYTES = 256 << 20
# 411,000 samples a second, the most that LoadGen hands to Python, for 600 s.
MAX_SAMPLES = 1 << 28
MAX_TELEMETRY_ROWS = 10_000_000
# Ten lines a second of about 80 bytes, for a day.
MAX_POWER_BYTES = 128 << 20
MAX_MEMORY_BYTES = 1 << 50
# Before this moment no run can have begun: the board has no clock (it counts from 1970).
EARLIEST_UNIX_NS = 1_704_067_200 * 10**9
# A board's clock may be ahead of the controller's by this much before it is named.
CLOCK_AHEAD_NS = 300 * 10**9


@dataclass(frozen=True)
class Thresholds:
    """When a figure becomes a quality reason."""

    foreign_cpu_mean_percent: float = 20.0
    """Mean CPU time of other processes while measuring; 100 is one core."""
    foreign_cpu_peak_percent: float = 80.0
    """The highest tenth of the readings lies above this: bursts move p99."""
    temperature_c: float = 80.0
    """From here on boards slow down (a Raspberry Pi's soft limit, a Jetson's first trip point)."""
    start_temperature_c: float = Bounds.start_temperature_c
    """A board that is this warm before it begins may slow down before it is done."""
    frequency_drift_percent: float = 10.0
    """How far the clock fell below its highest reading while measuring."""
    swap_bytes: float = 1 << 20
    """Growth of used swap, or what was swapped in and out, while measuring."""
    run_interval_percent: float = 10.0
    """Half of the 95 % interval of the official percentile within the run, in percent of it."""
    timing_base_us: float = 50.0
    """LoadGen's latencies lie above those timed in the system under test by 2 to 40 µs."""
    timing_percent: float = 2.0
    """And by this much of the latency on slow boards."""
    timing_tail_factor: float = 5.0
    """At p99 an interruption may fall between the two timings: this many times the tolerance."""
    timing_below_us: float = 5.0
    """What was timed inside can't be longer than what LoadGen timed around it, but for clocks."""

    def overridden(self, values: object) -> Thresholds:
        """With what a benchmark component sets; what is no sensible number is ignored."""
        if not isinstance(values, Mapping):
            return self
        known = {field.name for field in fields(self)}
        usable: dict[str, Any] = {
            name: float(value)
            for name, value in values.items()
            if name in known
            and isinstance(value, (int, float))
            and not isinstance(value, bool)
            and 0 <= value <= sys.float_info.max
        }
        return replace(self, **usable)
