"""The mean latency of Offline runs in which LoadGen's sum overflowed.

LoadGen 6.0.17 adds latencies in unsigned 64-bit integers (`loadgen/results.cc`), and in Offline all
samples wait from the beginning: at r samples per second for t seconds the sum is about r t^2 / 2,
and wraps from r t^2 = 3.7e10 s on. The printed mean is then too small by a multiple of 2^64 / n ns.
LoadGen's percentiles bound the true mean; if only one multiple is within the bounds, the mean can
be recovered.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

_RANGE = 1 << 64


def true_mean_ns(
    printed_ns: int, count: int, min_ns: int, max_ns: int, percentiles: Mapping[str, int]
) -> int | None:
    """Return the mean of `count` latencies whose printed mean may have wrapped; None if unknown.

    Args:
        printed_ns: LoadGen's mean, the sum modulo 2^64 divided by the count.
        count: the number of samples.
        min_ns: the lowest latency.
        max_ns: the highest latency.
        percentiles: latencies by percentile ("90.00"), in order.
    """
    if count <= 0 or count * max_ns < _RANGE:
        return printed_ns
    low, high = bounds_of_sum_ns(count, min_ns, max_ns, percentiles)
    # The printed mean was rounded down, so the sum is known to within the count.
    least = printed_ns * count
    first = max(0, -(-(low - least - count + 1) // _RANGE))
    last = (high - least) // _RANGE
    if first != last:
        return None
    return (least + first * _RANGE) // count


def bounds_of_sum_ns(
    count: int, min_ns: int, max_ns: int, percentiles: Mapping[str, int]
) -> tuple[int, int]:
    """Return bounds of the sum. Percentile p is element floor(count x p) of sorted latencies."""
    places = [(0, min_ns)]
    places += [
        (min(int(count * float(name) / 100), count - 1), value)
        for name, value in percentiles.items()
    ]
    places.append((count - 1, max_ns))
    low = high = 0
    for (start, lower), (end, upper) in pairwise(places):
        low += (end - start) * lower
        high += (end - start) * upper
    # Each index may be off by one: LoadGen multiplies by a rounded fraction.
    slack = len(places) * max_ns
    return max(0, low + max_ns - slack), high + max_ns + slack
