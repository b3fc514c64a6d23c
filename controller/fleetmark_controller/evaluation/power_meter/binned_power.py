"""Mean power in bins of equal length, whose number stays bounded however long a log is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetmark_controller.evaluation.power_meter.reader import Floats

_MOST_BINS = 1 << 19
_FIRST_BIN_S = 1e-3


@dataclass(frozen=True)
class BinnedPower:
    """Power over time: `power[n]` is the mean (W) from `start_s + n * bin_s` on.

    `longest_gap_s` is the longest time between two readings.
    """

    start_s: float
    bin_s: float
    power: Floats
    longest_gap_s: float


class PowerBins:
    """Collector of readings. It doubles the length of the bins when there are too many."""

    def __init__(self) -> None:
        """Begin without readings."""
        self._start_s: float | None = None
        self._bin_s = _FIRST_BIN_S
        self._sums = np.zeros(_MOST_BINS)
        self._counts = np.zeros(_MOST_BINS)
        self._last_s = 0.0
        self._gap_s = 0.0
        self._rows = 0

    def add(self, times: Floats, power: Floats) -> None:
        """Add readings that follow the earlier ones; times in s, power in W."""
        if not times.size:
            return
        if self._start_s is None:
            self._start_s = self._last_s = float(times[0])
        steps = np.diff(times, prepend=self._last_s)
        self._gap_s = max(self._gap_s, float(steps.max()))
        self._last_s = float(times[-1])
        self._rows += times.size
        while (self._last_s - self._start_s) / self._bin_s >= _MOST_BINS - 1:
            self._halve()
        places = ((times - self._start_s) / self._bin_s).astype(np.int64)
        np.add.at(self._sums, places, power)
        np.add.at(self._counts, places, 1)

    def result(self) -> BinnedPower | None:
        """Return the bins, not finer than the readings; None with fewer than two readings."""
        if self._start_s is None or self._rows < 2:
            return None
        span_s = self._last_s - self._start_s
        while self._bin_s < span_s / (self._rows - 1):
            self._halve()
        used = int(span_s / self._bin_s) + 1
        counts, sums = self._counts[:used], self._sums[:used]
        filled = np.flatnonzero(counts)
        means = sums[filled] / counts[filled]
        power = np.interp(np.arange(used), filled, means)
        return BinnedPower(self._start_s, self._bin_s, power, self._gap_s)

    def _halve(self) -> None:
        for values in (self._sums, self._counts):
            values[: _MOST_BINS // 2] = values[0::2] + values[1::2]
            values[_MOST_BINS // 2 :] = 0
        self._bin_s *= 2
