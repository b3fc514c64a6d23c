"""The size of a performance run, and whether it can only give an estimate. Pure.

LoadGen refuses a percentile of too few queries. A slow model cannot answer enough of them within
the job's time limit. Then the run has as many queries as fit, so that it ends with figures instead
of being stopped, and the result says how many queries are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

EARLY_STOPPING_QUERIES = {"SingleStream": 64, "MultiStream": 662, "Server": 459}
"""Fewest queries with which LoadGen's early stopping accepts a percentile.

It asks for a confidence of 99 % in the 90th percentile (SingleStream) or the 99th. SingleStream and
MultiStream report an estimate that at least one query exceeds; in Server no query may exceed the
limit. Source: `loadgen/early_stopping.cc` and MLPerf's inference rules, "Early Stopping Criterion".
"""
_RUN_SHARE, _TOTAL_SHARE = 0.5, 0.8
"""Shares of the job's time limit: of the run, and of everything until the end of the run."""
# Ratio of the mean latency to the fast end that the calibration measures, with some reserve.
_SLOWER = 1.2
_BATCH_SHARE = 0.1
# LoadGen accepts a throughput of a single batch, which says nothing about the next one.
_OFFLINE_BATCHES = 3


@dataclass(frozen=True)
class RunSize:
    """The number of queries of a run (in Offline: of samples), and the number that is needed."""

    count: int
    needed: int

    @property
    def is_estimate(self) -> bool:
        """True if the run has fewer queries than a measurement needs."""
        return self.count < self.needed


def time_left_ns(limit_s: float, elapsed_s: float) -> int:
    """Return how long the run may take.

    Args:
        limit_s: time limit of the job.
        elapsed_s: time that the job has taken until now.
    """
    return max(0, int(min(_RUN_SHARE * limit_s, _TOTAL_SHARE * limit_s - elapsed_s) * 1e9))


def run_size(
    scenario: str,
    settings: Mapping[str, Any],
    *,
    submittable: bool,
    query_ns: float,
    batch_size: int,
    left_ns: int,
) -> RunSize:
    """Return the size of a performance run.

    Args:
        scenario: the scenario.
        settings: the profile's settings for this scenario.
        submittable: True if the profile is for submissions: its own minimum is then needed.
        query_ns: expected time per query; in Offline, per sample.
        batch_size: in Offline, the samples per call of the model; the size is a multiple of it
            unless the profile's minimum fits.
        left_ns: how long the run may take.
    """
    fitting = int(left_ns / (query_ns * _SLOWER))
    if scenario == "Offline":
        needed = int(settings.get("min_sample_count", 1))
        whole = max(1, fitting // batch_size) * batch_size
        if needed > fitting:
            return RunSize(min(whole, needed), needed)
        return RunSize(max(needed, min(whole, _OFFLINE_BATCHES * batch_size)), needed)
    accepted = EARLY_STOPPING_QUERIES[scenario]
    wanted = max(int(settings.get("min_query_count", 1)), accepted)
    if wanted <= fitting:
        return RunSize(wanted, wanted)
    return RunSize(max(1, fitting), wanted if submittable else accepted)


def fitting_batch(sample_ns: int, batch_size: int, left_ns: int) -> int:
    """Return the largest batch, halved from `batch_size`, that takes a small share of the time.

    Args:
        sample_ns: time of a call with one sample.
        batch_size: the batch size that is wanted.
        left_ns: how long the run may take.
    """
    while batch_size > 1 and batch_size * sample_ns > left_ns * _BATCH_SHARE:
        batch_size //= 2
    return batch_size
