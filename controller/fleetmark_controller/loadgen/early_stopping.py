"""LoadGen's early stopping: the number of highest latencies that its estimate leaves out.

With n queries and a target percentile p, the estimate is a latency that is above p with 99 %
confidence: LoadGen finds the largest t for which fewer than t + 1 of n queries over the percentile
are less than 1 % likely; the t-th highest latency is the estimate. The t - 1 higher ones are those
that the summary "would discard". Source: MLPerf Inference rules, appendix on early stopping;
`loadgen/early_stopping.cc` and `results.cc` (confidence 0.99, tolerance 0).
"""

from __future__ import annotations

import math

from fleetmark_controller.loadgen.loadgen_log import Latency

CONFIDENCE = 0.99
PERCENTILE = {"SingleStream": 0.9, "MultiStream": 0.99}
"""Latency percentile of the official figure, by scenario."""


def rank_from_top(count: int, percentile: float) -> int:
    """Return the estimate's rank among the highest latencies (1: the highest); 0: too few queries.

    The sum begins 8 standard deviations below the mean, where the binomial distribution is
    negligible, so that it is fast for any count that a log claims.

    Args:
        count: the number of queries.
        percentile: the target percentile, between 0 and 1.
    """
    over = 1 - percentile
    if not 0 < over < 1:
        return 0
    mean, deviation = count * over, math.sqrt(count * over * percentile)
    first = max(0, int(mean - 8 * deviation))
    probability = math.exp(
        math.lgamma(count + 1)
        - math.lgamma(first + 1)
        - math.lgamma(count - first + 1)
        + first * math.log(over)
        + (count - first) * math.log(percentile)
    )
    total, odds = 0.0, over / percentile
    for k in range(first, count + 1):
        total += probability
        if total > 1 - CONFIDENCE:
            return max(k - 1, 0)
        probability *= (count - k) / (k + 1) * odds
    return count


def bounds_ns(latency: Latency, count: int, percentile: float) -> tuple[int, int] | None:
    """Return the lowest and highest possible estimate, by LoadGen's percentiles.

    None: there were too few queries for an estimate. LoadGen's percentile p is element floor(count
    × p) of the latencies in order.
    """
    rank = rank_from_top(count, percentile)
    if not rank:
        return None
    place = count - rank
    low, high = latency.min_ns, latency.max_ns
    for name, value_ns in latency.percentiles.items():
        known = min(int(count * float(name) / 100), count - 1)
        # A neighboring place is allowed, because the sum is rounded.
        if known <= place - 1:
            low = max(low, value_ns)
        if known >= place + 1:
            high = min(high, value_ns)
    return low, high
