"""LoadGen's early stopping: how many of the highest latencies its estimate leaves out.

With n queries and a target percentile p, the estimate is the latency that lies above p with 99 %
confidence: the largest t is sought for which fewer than t + 1 of n queries over the percentile are
less than 1 % likely, and the t-th highest latency is the estimate. That t - 1 are left out is what
the summary calls "would discard". Source: MLPerf Inference rules, appendix on early stopping;
`loadgen/early_stopping.cc` and `results.cc` (confidence 0.99, tolerance 0).
"""

from __future__ import annotations

import math

from fleetmark_controller.loadgen.loadgen_log import Latency

CONFIDENCE = 0.99
PERCENTILE = {"SingleStream": 0.9, "MultiStream": 0.99}
"""What each scenario is judged by."""


def rank_from_top(count: int, percentile: float) -> int:
    """Return which of the highest latencies the estimate is (1: the highest); 0: too few queries.

    `count` queries were made; `percentile` lies between 0 and 1. The sum begins 8 standard
    deviations below the mean, where the binomial distribution is negligible, so that it is quick
    for any count that a log claims.
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
    """Return the lowest and highest latency that the estimate can be, by LoadGen's percentiles.

    None: there were too few queries for an estimate. LoadGen's percentile p is element
    floor(count × p) of the latencies in order.
    """
    rank = rank_from_top(count, percentile)
    if not rank:
        return None
    place = count - rank
    low, high = latency.min_ns, latency.max_ns
    for name, value_ns in latency.percentiles.items():
        known = min(int(count * float(name) / 100), count - 1)
        # A place beside it is allowed: the sum is rounded.
        if known <= place - 1:
            low = max(low, value_ns)
        if known >= place + 1:
            high = min(high, value_ns)
    return low, high
