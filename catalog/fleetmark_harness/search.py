"""Finding the highest rate that is valid, in few short runs of which each may be wrong. Pure.

Whether a run is valid at a rate is a matter of chance near the limit, and a neighbour's burst may
spoil one far below it. So no rate is given up for one bad run, and none is believed for one good:

- A rate is *good* while more of its runs were valid than not, *bad* after two that were not, unless
  as many were valid. One that began with a bad run is tried again at once.
- First the limit is bracketed: up by `STEP` from a rate that is expected to be good, or down by
  half. Then the bracket is halved, geometrically, until its ends are `RESOLUTION` apart.
- The highest good rate must be valid `CONFIRMED` times. If that fails it is bad, and the next lower
  good rate is taken, or a rate a little below.
- After `MAX_RUNS` runs, or when time is over, the highest rate that is good by then is the answer.
  What is answered was valid at least once, more often than not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

STEP = 1.4
"""Upwards. Capacity is roughly known: two or three steps from half of it end above it."""
RESOLUTION = 1.03
CONFIRMED = 2
MAX_RUNS = 20
LEAST_SHARE = 1 / 256
"""Below this share of the first rate nothing is looked for: something else is wrong."""


@dataclass(frozen=True)
class Trial:
    """One run of a search: what LoadGen was told to expect, and what it said.

    `target` and `measured` are queries or samples a second, or ms a query; `percentile_ms` is the
    latency that the scenario judges by; `why` says why LoadGen calls the run INVALID.
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
    """How far a search is. `record` gives the next state; nothing changes in place.

    `ceiling` is a rate that cannot be kept, or none that is worth trying; above it nothing is run.
    """

    start: float
    ceiling: float
    trials: tuple[Trial, ...] = ()

    def record(self, trial: Trial) -> Search:
        """The state after one more run."""
        return Search(self.start, self.ceiling, (*self.trials, trial))

    def next_rate(self) -> float | None:
        """The rate of the next run; None: it is over, see `found`."""
        if len(self.trials) >= MAX_RUNS:
            return None
        if self.trials:
            last = self.trials[-1].target
            # The same once more, while its runs disagree or its only one was bad.
            if not self._bad(last) and not self._good(last):
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
        """The highest rate that is good; None: no run was valid, or none more often than not."""
        return self._low()

    def _downwards(self, high: float | None) -> float | None:
        if high is None:
            return self.start
        lower = high / 2
        return lower if lower >= self.start * LEAST_SHARE else None

    def _votes(self, rate: float) -> tuple[int, int]:
        """Of the runs at a rate, how many were valid, and how many were not."""
        valid = [trial.valid for trial in self.trials if trial.target == rate]
        return sum(valid), len(valid) - sum(valid)

    def _good(self, rate: float) -> bool:
        yes, no = self._votes(rate)
        return yes > no

    def _bad(self, rate: float) -> bool:
        yes, no = self._votes(rate)
        return no > yes and no > 1

    def _confirmed(self, rate: float) -> bool:
        yes, no = self._votes(rate)
        return yes >= CONFIRMED and yes > no

    def _low(self) -> float | None:
        """The highest good rate below every bad one."""
        high = self._high()
        good = {trial.target for trial in self.trials if self._good(trial.target)}
        return max((rate for rate in good if high is None or rate < high), default=None)

    def _high(self) -> float | None:
        """The lowest bad rate."""
        bad = (trial.target for trial in self.trials if self._bad(trial.target))
        return min(bad, default=None)


def middle(trials: Sequence[Trial]) -> Trial | None:
    """Of runs without a rate to be found the one in the middle, by what they measured.

    Of an even number the lower one. None: no run was valid.
    """
    valid = sorted((t for t in trials if t.valid), key=lambda trial: trial.measured)
    return valid[(len(valid) - 1) // 2] if valid else None
