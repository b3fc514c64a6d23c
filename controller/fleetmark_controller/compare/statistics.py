"""How much longer B takes than A, with an interval: a bootstrap over runs.

A run is the unit, not a sample: samples of one run share its start, its temperature and its place
in memory, and are no evidence of what the next run would give. Times are compared as logarithms,
so that effects are ratios and `A against B` is the mirror image of `B against A`.

The interval is the percentile bootstrap at the expanded level of Hesterberg (2015), "What Teachers
Should Know About the Bootstrap", The American Statistician 69(4), section 4.1.3: a plain percentile
interval of few runs is too narrow, by the factor sqrt((n-1)/n) of the bootstrap's standard error
and by taking normal for Student's t. Both are made good by reading it at the level
alpha' / 2 = Phi(-t(alpha / 2, df) * se / se_bootstrap); of several groups of runs se, se_bootstrap
and the degrees of freedom are those of Welch (1947) and Satterthwaite (1946).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Reals = NDArray[np.float64]

LEVEL = 0.95
LEAST_RUNS = 4
"""Of each side: with three, every run of B is slower than every run of A by chance in one case of
twenty, and faster in another, so that no test at 5 % could be made of them."""
LEAST_PAIRS = 6
"""Six pairs show the same sign by chance in one case of 32; five in one of 16."""
_RESAMPLES = 9_999
_SEED = 20_150_401  # any: the same runs give the same interval


@dataclass(frozen=True)
class Side:
    """Times (seconds, or any unit) of one board's runs of A and of B.

    Paired runs alternated on the board: the n-th of A belongs to the n-th of B, so that what
    drifted (temperature above all) met both alike.
    """

    a: tuple[float, ...]
    b: tuple[float, ...]
    paired: bool = False

    @property
    def enough(self) -> bool:
        """Whether something can be said at all."""
        least = LEAST_PAIRS if self.paired else LEAST_RUNS
        return min(len(self.a), len(self.b)) >= least


@dataclass(frozen=True)
class Effect:
    """B's time over A's, and the interval in which the true ratio lies (at `LEVEL`)."""

    ratio: float
    low: float
    high: float

    @property
    def slower(self) -> bool:
        """Whether B is slower beyond chance."""
        return self.low > 1.0

    @property
    def faster(self) -> bool:
        """Whether B is faster beyond chance."""
        return self.high < 1.0


@dataclass(frozen=True)
class _Group:
    """Independent runs, and the weight with which their mean counts."""

    values: Reals
    weight: float


def point(sides: Sequence[Side]) -> float:
    """B's time over A's: the geometric mean over the boards, each with the same weight."""
    return math.exp(sum(group.weight * float(group.values.mean()) for group in _groups(sides)))


def geometric_mean(values: Sequence[float]) -> float:
    """Of positive values, at least one."""
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def effect(sides: Sequence[Side]) -> Effect | None:
    """The effect on one board, or over several; None where runs are too few to tell.

    Boards are not drawn from a population: the interval is about these boards, and the runs that
    they would give on another day like this.
    """
    if not sides or not all(side.enough for side in sides):
        return None
    groups = _groups(sides)
    centre = sum(group.weight * float(group.values.mean()) for group in groups)
    if all(not group.values.std() > 1e-12 for group in groups):
        return Effect(math.exp(centre), math.exp(centre), math.exp(centre))
    from scipy import stats

    found = stats.bootstrap(
        [group.values for group in groups],
        _weighted(groups),
        confidence_level=1.0 - _expanded(groups),
        method="percentile",
        n_resamples=_RESAMPLES,
        vectorized=True,
        rng=_SEED,
    ).confidence_interval
    return Effect(math.exp(centre), math.exp(found.low), math.exp(found.high))


def _groups(sides: Sequence[Side]) -> list[_Group]:
    import numpy as np

    groups: list[_Group] = []
    share = 1.0 / len(sides)
    for side in sides:
        a, b = np.log(np.asarray(side.a)), np.log(np.asarray(side.b))
        if side.paired:
            groups.append(_Group(b - a, share))
        else:
            groups.extend((_Group(a, -share), _Group(b, share)))
    return groups


def _weighted(groups: Sequence[_Group]) -> Any:
    weights = [group.weight for group in groups]

    def statistic(*samples: Reals, axis: int = -1) -> Any:
        return sum(w * sample.mean(axis=axis) for w, sample in zip(weights, samples, strict=True))

    return statistic


def _expanded(groups: Sequence[_Group]) -> float:
    """The level alpha' at which a percentile interval covers as one of alpha should."""
    from scipy import stats

    parts = [
        (group.weight**2 * float(group.values.var(ddof=1)) / len(group.values), len(group.values))
        for group in groups
    ]
    variance = sum(part for part, _ in parts)
    of_bootstrap = sum(part * (n - 1) / n for part, n in parts)
    freedom = variance**2 / sum(part**2 / (n - 1) for part, n in parts)
    quantile = float(stats.t.ppf((1.0 - LEVEL) / 2, freedom))
    return 2.0 * float(stats.norm.cdf(quantile * math.sqrt(variance / of_bootstrap)))
