"""Ratio of B's time to A's, with an interval: a bootstrap over runs.

The unit is a run, not a sample: samples of one run share its start, its temperature and its memory
placement, and are no evidence of what the next run would give. Times are compared as logarithms, so
that effects are ratios and `A against B` is the mirror image of `B against A`.

The interval is the percentile bootstrap at the expanded level of Hesterberg (2015), "What Teachers
Should Know About the Bootstrap", The American Statistician 69(4), section 4.1.3. A plain percentile
interval of few runs is too narrow: by the factor sqrt((n-1)/n) of the bootstrap's standard error,
and because it uses the normal distribution in place of Student's t. Reading it at the level alpha'
/ 2 = Phi(-t(alpha / 2, df) * se / se_bootstrap) corrects both. For several groups of runs, se,
se_bootstrap and the degrees of freedom are those of Welch (1947) and Satterthwaite (1946).
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
"""Minimum runs of each side.

With three, every run of B is slower than every run of A by chance in one case of twenty, and faster
in another, so that no test at 5 % is possible.
"""
LEAST_PAIRS = 6
"""Minimum pairs: six have the same sign by chance in one case of 32; five in one of 16."""
_RESAMPLES = 9_999
_SEED = 20_150_401  # arbitrary: the same runs give the same interval


@dataclass(frozen=True)
class Side:
    """Times (in seconds, or any unit) of one device's runs of A and of B.

    Paired runs alternated on the device: the n-th of A belongs to the n-th of B, so that drift
    (temperature above all) affected both equally.
    """

    a: tuple[float, ...]
    b: tuple[float, ...]
    paired: bool = False

    @property
    def enough(self) -> bool:
        """Return whether there are enough runs for an interval."""
        least = LEAST_PAIRS if self.paired else LEAST_RUNS
        return min(len(self.a), len(self.b)) >= least


@dataclass(frozen=True)
class Effect:
    """Ratio of B's time to A's, and the interval that contains the true ratio (at `LEVEL`)."""

    ratio: float
    low: float
    high: float

    @property
    def slower(self) -> bool:
        """Return whether B is slower beyond chance."""
        return self.low > 1.0

    @property
    def faster(self) -> bool:
        """Return whether B is faster beyond chance."""
        return self.high < 1.0


@dataclass(frozen=True)
class _Group:
    """Independent runs, and the weight of their mean."""

    values: Reals
    weight: float


def point(sides: Sequence[Side]) -> float:
    """Return the ratio of B's time to A's: the geometric mean over devices with equal weights."""
    return math.exp(sum(group.weight * float(group.values.mean()) for group in _groups(sides)))


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values, of which there must be at least one."""
    return math.exp(math.fsum(math.log(value) for value in values) / len(values))


def effect(sides: Sequence[Side]) -> Effect | None:
    """Return the effect on one device or over several; None if there are too few runs.

    Devices are not drawn from a population: the interval is about these devices, and the runs that
    they would give on a similar day.
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
    """Return the level alpha' at which a percentile interval has the coverage of alpha."""
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
