"""Confidence of a figure: 95 % intervals, within one run and over several. Pure.

Latencies within a run depend on each other (heat, caches, other processes), so that formulas for
independent values would give intervals that are too narrow. The run is therefore cut into `BATCHES`
parts in order of time, the official percentile of each part is taken, and Student's t is applied to
these (batch means, sectioning: Law, Simulation Modeling and Analysis, chapter 9). Slow changes make
the parts differ, and the interval wide.
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
"""Minimum samples per part, by percentile; with fewer, the percentile would be the maximum."""

T95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
"""Student's t for 95 %, two-sided, by degrees of freedom from 1; above the table, use the last."""


def half_percent(values: Sequence[float]) -> float | None:
    """Return half of the 95 % interval of the mean, in percent of the mean.

    Returns:
        None for fewer than two values, or if the mean is not positive and finite.
    """
    if len(values) < 2:
        return None
    mean = fmean(values)
    if mean <= 0 or not math.isfinite(mean):
        return None
    t = T95[min(len(values) - 1, len(T95)) - 1]
    return 100 * t * stdev(values) / math.sqrt(len(values)) / mean


def within_run(samples: Samples, scenario: str) -> float | None:
    """Return half of the 95 % interval of the official percentile within a run, in percent.

    `samples` are latencies in the order in which they were taken. MultiStream uses queries of 8
    samples, each with the latency of its slowest sample.

    Returns:
        None if there is no interval: in Offline, where all samples are one query, for too few
        samples, or if MultiStream's samples do not form complete queries.
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
