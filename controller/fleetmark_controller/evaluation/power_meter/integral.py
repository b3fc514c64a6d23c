"""Energy by the trapezoid rule over readings that arrive in chunks. Pure.

Power is interpolated linearly between readings, as `evaluation.energy` does for the sensors of a
device. The integral from the first reading to a moment inside a segment is exact for that
interpolation: with the segment's start (t0, p0) and slope m, it grows by
p0 (t - t0) + m (t - t0)² / 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fleetmark_controller.evaluation.power_meter.reader import Floats


class CumulativeEnergy:
    """Integral of the power from the first reading to each of some moments."""

    def __init__(self, moments_s: Sequence[float]) -> None:
        """Store the moments, in any order, in the clock of the readings."""
        self._moments = np.sort(np.unique(np.asarray(moments_s, dtype=np.float64)))
        self._values = np.full(self._moments.size, np.nan)
        self._first_s = np.nan
        self._last: tuple[float, float] | None = None
        self._total_j = 0.0

    def add(self, times: Floats, power: Floats) -> None:
        """Add readings that follow the earlier ones; their times (s) strictly increase."""
        if not times.size:
            return
        if self._last is None:
            self._first_s = float(times[0])
            self._values[self._moments == times[0]] = 0.0
        else:
            times = np.concatenate(([self._last[0]], times))
            power = np.concatenate(([self._last[1]], power))
        steps = np.diff(times)
        parts = steps * (power[1:] + power[:-1]) / 2
        sums = self._total_j + np.concatenate(([0.0], np.cumsum(parts)))
        wanted = (self._moments > times[0]) & (self._moments <= times[-1])
        if wanted.any():
            moments = self._moments[wanted]
            right = np.searchsorted(times, moments, side="left")
            left = right - 1
            passed = moments - times[left]
            slope = (power[right] - power[left]) / (times[right] - times[left])
            self._values[wanted] = sums[left] + passed * (power[left] + slope * passed / 2)
        self._total_j = float(sums[-1])
        self._last = (float(times[-1]), float(power[-1]))

    def between(self, start_s: float, end_s: float) -> float:
        """Return the energy in joules between two of the moments; NaN outside the readings."""
        low, high = np.searchsorted(self._moments, (start_s, end_s))
        return float(self._values[high] - self._values[low])


class EverySecond:
    """Feed of one of the two halves of the readings: every second one, and the first and last."""

    def __init__(self, target: CumulativeEnergy, phase: int) -> None:
        """Pass the readings with index `phase`, `phase` + 2, … on to `target`."""
        self._target = target
        self._phase = phase
        self._count = 0
        self._skipped: tuple[float, float] | None = None

    def add(self, times: Floats, power: Floats) -> None:
        """Add readings that follow the earlier ones."""
        if not times.size:
            return
        first = (self._phase - self._count) % 2
        chosen = np.zeros(times.size, dtype=bool)
        chosen[first::2] = True
        chosen[0] |= self._count == 0
        self._target.add(times[chosen], power[chosen])
        self._skipped = None if chosen[-1] else (float(times[-1]), float(power[-1]))
        self._count += times.size

    def finish(self) -> None:
        """Pass the last reading on, so that the halves end when the readings do."""
        if self._skipped is not None:
            at_s, watts = self._skipped
            self._target.add(np.array([at_s]), np.array([watts]))
            self._skipped = None
