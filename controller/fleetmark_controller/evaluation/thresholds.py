"""Bounds and thresholds of an evaluation, each with its reason.

*Bounds* limit the memory that hostile files can cost, and reject absurd figures (the bounds of
LoadGen's logs are in `loadgen.limits`). *Thresholds* decide the condition, and a benchmark
component may set them (`[benchmark.condition]`, with the names of `Thresholds`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from fleetmark_core.repeat_bounds import RepeatBounds

MAX_RESULT_BYTES = 1 << 20
# All 60,000 records of CIFAR-10 are 184 MB.
MAX_RECORD_FILE_BYTES = 256 << 20
# 411,000 samples per second, the most that LoadGen passes to Python, for 600 s.
MAX_SAMPLES = 1 << 28
MAX_TELEMETRY_ROWS = 10_000_000
# Ten lines per second of about 80 bytes, for a day.
MAX_POWER_BYTES = 128 << 20
MAX_MEMORY_BYTES = 1 << 50
# No run can have begun before this time (2024-01-01): the device has no clock and starts in 1970.
EARLIEST_UNIX_NS = 1_704_067_200 * 10**9
# A device's clock may be ahead of the controller's by this much before it becomes a reason.
CLOCK_AHEAD_NS = 300 * 10**9


@dataclass(frozen=True)
class Thresholds:
    """The thresholds at which a figure becomes a reason of the condition."""

    foreign_cpu_mean_percent: float = 20.0
    """Mean CPU time of other processes while measuring; 100 is one core."""
    foreign_cpu_peak_percent: float = 80.0
    """Limit of the 90th percentile of the readings, because bursts affect p99."""
    temperature_c: float = 80.0
    """Devices slow down from here (a Raspberry Pi's soft limit, a Jetson's first trip point)."""
    start_temperature_c: float = RepeatBounds.start_temperature_c
    """A device that is warmer than this before it begins may slow down before it finishes."""
    frequency_drift_percent: float = 10.0
    """Decrease of the clock below its highest reading while measuring, in percent."""
    swap_bytes: float = 1 << 20
    """Growth of used swap, or bytes swapped in and out, while measuring."""
    run_interval_percent: float = 10.0
    """Half of the 95 % interval of the official percentile within the run, in percent of it."""
    timing_base_us: float = 50.0
    """LoadGen's latencies are 2 to 40 µs higher than those timed in the system under test."""
    timing_percent: float = 2.0
    """Additional tolerance in percent of the latency, for slow devices."""
    timing_tail_factor: float = 5.0
    """Factor of the tolerance at p99, where an interruption may fall between the two timings."""
    timing_below_us: float = 5.0
    """Tolerance for clocks only: the inner timing cannot exceed LoadGen's timing around it."""

    def overridden(self, values: object) -> Thresholds:
        """Return thresholds with a benchmark component's values; invalid values are ignored."""
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
