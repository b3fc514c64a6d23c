"""Blocks of mode crosscheck in Server: how many queries, and what queries waited for. Pure.

LoadGen measures a query's latency from its scheduled arrival to its completion. The harness sees
three moments in between: LoadGen issues the query, the worker takes it, the worker has the answer.
Each query's service time is at most its duration in the harness, which is at most its latency.
Percentiles of the three, taken with one rule from the same queries, are therefore in this order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fleetmark_harness.exit_codes import BAD_JOB, JobError

QUERIES, FEWEST_QUERIES = 200, 100
"""Queries of a block. With fewer than 100 there is no 99th percentile below the largest latency."""
PERCENTILE = 0.99
"""The percentile that LoadGen compares with the latency limit (`mlperf.conf`)."""


@dataclass(frozen=True)
class ServerBlock:
    """The minimum number of queries of a block, and the time until they are answered."""

    queries: int
    duration_s: float


def plan_block(
    rate: float, service_s: float, block_s: float, others_s: float, budget_s: float, rounds: int
) -> ServerBlock:
    """Return the size of a block: `QUERIES`, or fewer if `rounds` rounds do not fit otherwise.

    Args:
        rate: queries per second, as in the run.
        service_s: time of a query without a queue. It decides if queries arrive faster.
        block_s: shortest duration of a block.
        others_s: duration of the other blocks of a round.
        budget_s: time for all rounds.
        rounds: wanted number of rounds.

    Raises:
        JobError: BAD_JOB: not even one round of `FEWEST_QUERIES` fits.
    """
    pace_s = max(1 / rate, service_s)
    fitting = int((budget_s / rounds - others_s) / pace_s)
    queries = max(FEWEST_QUERIES, min(QUERIES, fitting))
    # LoadGen issues queries until both its minimum count and its minimum duration are reached.
    duration_s = max(block_s, queries * pace_s, rate * block_s * service_s)
    if others_s + duration_s > budget_s:
        raise JobError(
            BAD_JOB,
            f"mode crosscheck needs blocks of {FEWEST_QUERIES} queries in Server: with {rate:.3g}"
            f" queries per second of {service_s:.3g} s each, a round takes"
            f" {others_s + duration_s:.0f} s, and half of the time that is left is"
            f" {max(0.0, budget_s):.0f} s; raise the job's time limit",
        )
    return ServerBlock(queries, duration_s)


def percentile(values: npt.NDArray[np.int64], share: float = PERCENTILE) -> float:
    """Return a percentile as LoadGen does: the value at index count × share in order."""
    place = min(int(len(values) * share), len(values) - 1)
    return float(np.partition(values, place)[place])


def block_figures(
    service_times: npt.NDArray[np.int64], durations: npt.NDArray[np.int64]
) -> dict[str, float]:
    """Return the figures of a block, in nanoseconds per query.

    Args:
        service_times: the worker's work on each query, in nanoseconds.
        durations: the time from issue to answer of each query, in nanoseconds.
    """
    return {
        "service_p50_ns": percentile(service_times, 0.5),
        "service_p99_ns": percentile(service_times),
        "service_mean_ns": float(service_times.mean()),
        "harness_p99_ns": percentile(durations),
    }
