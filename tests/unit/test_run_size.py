"""The size of a performance run for models of any speed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.loadgen.early_stopping import rank_from_top
from fleetmark_harness.run_size import (
    EARLY_STOPPING_QUERIES,
    fitting_batch,
    run_size,
    time_left_ns,
)

SCENARIOS = st.sampled_from(["SingleStream", "MultiStream", "Server", "Offline"])
SECOND = 10**9


@pytest.mark.parametrize(("scenario", "percentile"), [("SingleStream", 0.9), ("MultiStream", 0.99)])
def test_fewest_queries_are_those_of_early_stopping(scenario: str, percentile: float) -> None:
    fewest = EARLY_STOPPING_QUERIES[scenario]
    assert rank_from_top(fewest, percentile) >= 1
    assert rank_from_top(fewest - 1, percentile) == 0


def test_fewest_queries_of_server_make_a_miss_unlikely_enough() -> None:
    fewest = EARLY_STOPPING_QUERIES["Server"]
    assert 0.99**fewest <= 0.01 < 0.99 ** (fewest - 1)


@given(
    SCENARIOS,
    st.integers(1, 30_000),
    st.booleans(),
    st.floats(5e3, 60e9),
    st.integers(1, 64),
    st.integers(0, 3600 * SECOND),
)
def test_a_run_fits_or_is_as_short_as_possible(
    scenario: str, minimum: int, submittable: bool, query_ns: float, batch: int, left_ns: int
) -> None:
    key = "min_sample_count" if scenario == "Offline" else "min_query_count"
    size = run_size(
        scenario,
        {key: minimum},
        submittable=submittable,
        query_ns=query_ns,
        batch_size=batch,
        left_ns=left_ns,
    )
    least = batch if scenario == "Offline" else 1
    assert size.count >= 1
    assert size.count * query_ns <= left_ns or size.count <= least
    if scenario == "Offline":
        assert size.needed == minimum
    elif submittable:
        assert size.needed >= minimum
    # A profile for submissions keeps its own minimum or gives an estimate.
    if not size.is_estimate:
        assert size.count >= EARLY_STOPPING_QUERIES.get(scenario, minimum)
        assert size.count >= minimum or not submittable
    elif size.count * query_ns * 2 < left_ns and size.count > least:
        # An estimate uses the time that there is.
        assert (size.count + batch + 1) * query_ns * 1.2 > left_ns


@given(st.integers(1, 100 * SECOND), st.integers(1, 4096), st.integers(0, 3600 * SECOND))
def test_a_batch_takes_a_small_share_of_the_time(sample_ns: int, batch: int, left_ns: int) -> None:
    found = fitting_batch(sample_ns, batch, left_ns)
    assert 1 <= found <= batch
    assert found == 1 or found * sample_ns <= left_ns / 10
    # Not smaller than it has to be.
    assert found == batch or (2 * found + 1) * sample_ns > left_ns / 10


@given(st.floats(0.001, 1e6), st.floats(0, 1e6))
def test_the_run_ends_before_the_time_limit(limit_s: float, elapsed_s: float) -> None:
    left = time_left_ns(limit_s, elapsed_s)
    assert 0 <= left <= limit_s * SECOND / 2
    assert left == 0 or elapsed_s + left / SECOND <= 0.8 * limit_s + 1e-6
