"""Decide whether a stable campaign repeats a configuration on a device. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fleetmark_core.repeat_bounds import RepeatBounds


class RepeatDecision(Enum):
    """The decision after a run, with its reason."""

    WAIT = "another run has not ended"
    AGAIN = "the interval of the official figure is too wide"
    NARROW = "the interval of the official figure is narrow enough"
    BOUND = "the limit of runs is reached"
    STOP = "the last run gave no valid figure"


@dataclass(frozen=True)
class Runs:
    """The runs of one configuration on one device.

    `figures` are the official figures of the valid runs. `half_percent` is half of the 95 %
    confidence interval of their mean, in percent of the mean; None while there are too few runs.
    `waiting` counts the jobs that have not ended, `ended` those that have ended with any result.
    """

    figures: Sequence[float]
    half_percent: float | None
    waiting: int
    ended: int
    last_is_valid: bool


def next_step(runs: Runs, bounds: RepeatBounds) -> RepeatDecision:
    """Return what to do after the last run.

    A run that LoadGen calls invalid will be invalid again. A repetition only helps against scatter.
    """
    if not runs.last_is_valid:
        return RepeatDecision.STOP
    if runs.waiting:
        return RepeatDecision.WAIT
    enough = len(runs.figures) >= max(2, bounds.least_runs)
    if enough and runs.half_percent is not None and runs.half_percent <= bounds.interval_percent:
        return RepeatDecision.NARROW
    if runs.ended >= max(bounds.most_runs, 1):
        return RepeatDecision.BOUND
    return RepeatDecision.AGAIN
