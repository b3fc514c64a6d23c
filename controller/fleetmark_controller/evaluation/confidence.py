"""How well a figure is known: 95 % intervals, within one run and over several. Pure.

Within a run latencies depend on each other (heat, caches, neighbours), so that formulas for
independent values would promise too much. The run is cut into `BATCHES` parts in the order of
time, the official percentile is taken of each, and Student's t over these (batch means, sectioning:
Law, Simulation Modeling and Analysis, chapter 9): slow changes make the parts differ, and the
interval wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetmark_controller.evaluation.samples import Samples

BATCHES = 10
_FEWEST = {90: 60, 99: 300}
"""Samples that a part needs, lest its percentile is its highest value."""

T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Student's t for 95 %, two-sided, by degrees of freedom from 1; beyond the table the last one."""


def half_percent(values: Sequence[float]) -> float | None:
    """Half of the 95 % interval of the mean, in percent of it; None for less than two values."""
    if len(values) < 2:
        return None
    mean = fmean(values)
    if mean <= 0 or not math.isfinite(mean):
        return None
    t = T95[min(len(values) - 1, len(T95)) - 1]
    return 100 * t * stdev(values) / math.sqrt(len(values)) / mean


def within_run(samples: Samples, scenario: str) -> float | None:
    """Half of the interval of the official percentile, in percent; None where there is none.

    `samples` are latencies in the order in which they were taken. In Offline all samples are one
    query; MultiStream is judged by queries of 8 samples, by the slowest of each.
    """
    import numpy as np

    percentile = {"SingleStream": 90, "MultiStream": 99, "Server": 99}.get(scenario)
    if percentile is None:
        return None
    if scenario == "MultiStream":
        if samples.size % 8:
            return None
        samples = samples.reshape(-1, 8).max(axis=1)
    if samples.size < BATCHES * _FEWEST[percentile]:
        return None
    parts = np.array_split(samples, BATCHES)
    return half_percent([float(np.percentile(part, percentile)) for part in parts])
