"""Find the steady state of a sustained run: where throttling has settled. Pure.

A device that starts cool is fast at first, then its temperature rises and it lowers its clocks,
until both stay the same. The figure of a sustained run is that of this last part, so its start must
be found without a fixed warm-up time.

The start is found by the marginal standard error rule (MSER): of all numbers of leading windows
that may be left out, take the one for which the standard error of the mean of the remaining windows
is the smallest. Leaving out a transient lowers the variance of the rest; leaving out more of a
steady series only lowers the number of windows. The rule has no parameter that must be tuned to a
device. K. P. White, "An effective truncation heuristic for bias reduction in simulation output",
Simulation 69 (6), 1997; compared with other rules in K. Hoad, S. Robinson, R. Davies, "Automating
warm-up length estimation", Journal of the Operational Research Society 61 (9), 2010.

Noise alone makes the error of a short rest small by chance. So the earliest start counts whose
squared error is at most `NOISE` times the smallest one.

As both papers recommend, a start in the second half means that the series is too short: then there
is no steady state. Nor is there one if the remaining windows still drift: if a line fitted to
them changes by more than `MOST_DRIFT` of their mean from first to last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LEAST_WINDOWS = 20
"""Fewer windows do not show whether a series is steady."""
MOST_DRIFT = 0.05
NOISE = 2.0


@dataclass(frozen=True)
class SteadyState:
    """Result for a series: the first steady window, or why no window is steady.

    `start` is the index of the first steady window; None if there is no steady state. `reason` is
    then the reason. `drift` is the change of the fitted line relative to the mean.
    """

    start: int | None
    reason: str = ""
    drift: float | None = None


def find_steady_state(values: Sequence[float]) -> SteadyState:
    """Return the steady state of a series of equal windows, such as samples per second."""
    count = len(values)
    if count < LEAST_WINDOWS:
        return SteadyState(None, f"it has {count} windows, at least {LEAST_WINDOWS} are needed")
    start = _truncation(values)
    if start * 2 >= count:
        return SteadyState(None, "it still changed in the second half of the run")
    drift = _drift(values[start:])
    if drift is None:
        return SteadyState(None, "it completed no samples")
    if abs(drift) > MOST_DRIFT:
        return SteadyState(
            None,
            f"it still drifted by {100 * drift:+.1f} %, at most {100 * MOST_DRIFT:g} % is steady",
            drift,
        )
    return SteadyState(start, "", drift)


def _truncation(values: Sequence[float]) -> int:
    """Return the number of leading windows to leave out, at most half of all.

    Rounding errors count as equal.
    """
    # Centered, so that the differences of large sums below stay exact enough.
    center = sum(values) / len(values)
    total = squares = 0.0
    tail = [(0.0, 0.0)]
    for value in reversed(values):
        total += value - center
        squares += (value - center) ** 2
        tail.append((total, squares))
    tolerance = 1e-9 * max((abs(value) for value in values), default=0.0) ** 2
    errors = []
    for left in range(len(values), (len(values) - 1) // 2, -1):
        total, squares = tail[left]
        errors.append(max(0.0, squares - total * total / left) / left**2)
    most = NOISE * min(errors) + tolerance
    return next(start for start, error in enumerate(errors) if error <= most)


def _drift(values: Sequence[float]) -> float | None:
    """Return the change of a least-squares line over the series, relative to its mean."""
    count, mean = len(values), sum(values) / len(values)
    if mean <= 0:
        return None
    middle = (count - 1) / 2
    spread = sum((place - middle) ** 2 for place in range(count))
    slope = sum((place - middle) * (value - mean) for place, value in enumerate(values)) / spread
    return slope * (count - 1) / mean
