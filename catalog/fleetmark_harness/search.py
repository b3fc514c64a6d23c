"""Finds the highest valid rate in a few short runs, each of which may be misleading. Pure.

Near the limit it is random whether a run is valid, and a load burst of another process can spoil a
run far below the limit. So no rate is rejected for one invalid run, and none is accepted for one
valid run:

- A rate is *good* while more of its runs were valid than invalid. It is *bad* if at least two runs
  were invalid and more were invalid than valid. A rate whose first run was invalid is tried again
  at once.
- First the limit is bracketed: upwards by `STEP` from a rate that is expected to be good, or
  downwards by half. Then the bracket is halved, geometrically, until its ends are `RESOLUTION`
  apart.
- The highest good rate must be valid `CONFIRMED` times. If that fails it is bad, and the next lower
  good rate is taken, or a rate a little below.
- After `MAX_RUNS` runs, or when the time is over, the result is the highest rate that is good at
  that moment. A result was valid at least once, and more often valid than invalid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

STEP = 1.4
"""Upward factor. Capacity is roughly known: two or three steps from half of it exceed it."""
RESOLUTION = 1.03
CONFIRMED = 2
MAX_RUNS = 20
LEAST_SHARE = 1 / 256
"""Below this share of the first rate the search stops: something else is wrong."""


@dataclass(frozen=True)
class SearchTrial:
    """One run of a search: the expectation given to LoadGen, and LoadGen's result.

    `target` and `measured` are queries or samples per second, or milliseconds per query.
    `percentile_ms` is the latency percentile that the scenario uses. `why` says why LoadGen
    reported the run as INVALID.
    """

    target: float
    valid: bool
    why: str = ""
    samples: int = 0
    percentile_ms: float = 0.0
    measured: float = 0.0
    duration_ms: int = 0


@dataclass(frozen=True)
class Search:
    """The state of a search. `record` returns the next state; nothing changes in place.

    `ceiling` is a rate that cannot be sustained or is not worth trying; no run exceeds it.
    """

    start: float
    ceiling: float
    trials: tuple[SearchTrial, ...] = ()

    def record(self, trial: SearchTrial) -> Search:
        """Return the state after one more run."""
        return Search(self.start, self.ceiling, (*self.trials, trial))

    def next_rate(self) -> float | None:
        """Return the rate of the next run, or None if the search is over; see `found`."""
        if len(self.trials) >= MAX_RUNS:
            return None
        if self.trials:
            last = self.trials[-1].target
            # Repeat the same rate while its runs disagree, or if its only run was invalid.
            if not self._is_invalid(last) and not self._is_valid(last):
                return last
        low, high = self._low(), self._high()
        if low is None:
            return self._downwards(high)
        if high is None:
            if low >= self.ceiling:
                return None if self._confirmed(low) else low
            return min(low * STEP, self.ceiling)
        if high / low > RESOLUTION:
            return sqrt(low * high)
        return None if self._confirmed(low) else low

    @property
    def found(self) -> float | None:
        """The highest good rate, or None if no rate was valid more often than invalid."""
        return self._low()

    def _downwards(self, high: float | None) -> float | None:
        if high is None:
            return self.start
        lower = high / 2
        return lower if lower >= self.start * LEAST_SHARE else None

    def _votes(self, rate: float) -> tuple[int, int]:
        """Return how many runs at a rate were valid, and how many were invalid."""
        valid = [trial.valid for trial in self.trials if trial.target == rate]
        return sum(valid), len(valid) - sum(valid)

    def _is_valid(self, rate: float) -> bool:
        yes, no = self._votes(rate)
        return yes > no

    def _is_invalid(self, rate: float) -> bool:
        yes, no = self._votes(rate)
        return no > yes and no > 1

    def _confirmed(self, rate: float) -> bool:
        yes, no = self._votes(rate)
        return yes >= CONFIRMED and yes > no

    def _low(self) -> float | None:
        """Return the highest good rate below every bad rate."""
        high = self._high()
        good = {trial.target for trial in self.trials if self._is_valid(trial.target)}
        return max((rate for rate in good if high is None or rate < high), default=None)

    def _high(self) -> float | None:
        """Return the lowest bad rate."""
        bad = (trial.target for trial in self.trials if self._is_invalid(trial.target))
        return min(bad, default=None)


def middle(trials: Sequence[SearchTrial]) -> SearchTrial | None:
    """Return the valid run with the median measured value, or None if no run was valid.

    Of an even number of runs it is the lower of the two in the middle.
    """
    valid = sorted((t for t in trials if t.valid), key=lambda trial: trial.measured)
    return valid[(len(valid) - 1) // 2] if valid else None
