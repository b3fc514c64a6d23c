"""Whether a stable campaign runs a configuration once more on a board. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from fleetmark_core.repeat_bounds import Bounds


class Next(Enum):
    """What follows after a run."""

    WAIT = "another run of it is on its way"
    AGAIN = "its figure is not known well enough"
    NARROW = "its figure is known well enough"
    BOUND = "it ran as often as it may"
    STOP = "its last run is no evidence"


@dataclass(frozen=True)
class Runs:
    """What is there of one configuration on one board.

    `figures` are the official ones of its valid runs; `half_percent` half of the 95 % interval of
    their mean, in percent of it, None while there are too few. `waiting` jobs have not ended;
    `ended` have, however.
    """

    figures: Sequence[float]
    half_percent: float | None
    waiting: int
    ended: int
    last_is_valid: bool


def following(runs: Runs, bounds: Bounds) -> Next:
    """What to do now.

    What LoadGen calls invalid will be so again: only what scatters is worth a repetition.
    """
    if not runs.last_is_valid:
        return Next.STOP
    if runs.waiting:
        return Next.WAIT
    enough = len(runs.figures) >= max(2, bounds.least_runs)
    if enough and runs.half_percent is not None and runs.half_percent <= bounds.interval_percent:
        return Next.NARROW
    if runs.ended >= max(bounds.most_runs, 1):
        return Next.BOUND
    return Next.AGAIN
