"""Early stopping as LoadGen and MLCommons' endpoints compute it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.loadgen.early_stopping import bounds_ns, rank_from_top
from fleetmark_controller.loadgen.loadgen_log import PERCENTILES, Latency


@pytest.mark.parametrize(
    ("percentile", "fewest"), [(0.9, 64), (0.99, 662), (0.999, 6636)], ids=["p90", "p99", "p99.9"]
)
def test_the_fewest_queries_are_those_of_the_rules(percentile: float, fewest: int) -> None:
    assert rank_from_top(fewest - 1, percentile) == 0
    assert rank_from_top(fewest, percentile) == 1


@pytest.mark.parametrize(("count", "discarded"), [(2673, 230), (659, 47)])
def test_what_loadgen_discards(count: int, discarded: int) -> None:
    assert rank_from_top(count, 0.9) == discarded + 1


def test_a_run_of_days_is_quick() -> None:
    count = 10**9
    rank = rank_from_top(count, 0.9)
    expected = count * 0.1 - 2.3263479 * math.sqrt(count * 0.09)
    assert abs(rank - expected) < 5


@given(st.lists(st.integers(1, 10**9), min_size=64, max_size=3000), st.sampled_from([0.9, 0.99]))
def test_the_estimate_of_any_latencies_lies_within_the_bounds(
    taken: list[int], percentile: float
) -> None:
    ordered = sorted(taken)
    count = len(ordered)
    latency = Latency(
        ordered[0],
        ordered[-1],
        sum(ordered) // count,
        {p: ordered[min(int(count * float(p) / 100), count - 1)] for p in PERCENTILES},
    )
    found = bounds_ns(latency, count, percentile)
    rank = rank_from_top(count, percentile)
    if rank == 0:
        assert found is None
    else:
        assert found is not None and found[0] <= ordered[count - rank] <= found[1]
