"""Blocks of a cross-check in Server: their size, and their figures."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_harness import sut as sut_module
from fleetmark_harness.exit_codes import BAD_JOB, JobError
from fleetmark_harness.server_block import (
    FEWEST_QUERIES,
    QUERIES,
    block_figures,
    percentile,
    plan_block,
)
from fleetmark_harness.sut import TimedWorkerSut
from tests.support.fake_loadgen import FakeResponse


def test_a_block_has_all_queries_if_there_is_time() -> None:
    found = plan_block(100, 0.001, block_s=0.25, others_s=0.5, budget_s=60, rounds=9)
    assert (found.queries, found.duration_s) == (QUERIES, 2.0)
    fast = plan_block(10_000, 0.00001, block_s=0.25, others_s=0.5, budget_s=60, rounds=9)
    assert (fast.queries, fast.duration_s) == (QUERIES, 0.25)
    # 2,500 queries arrive in a block, each of which takes a millisecond.
    behind = plan_block(10_000, 0.001, block_s=0.25, others_s=0.5, budget_s=60, rounds=9)
    assert (behind.queries, behind.duration_s) == (QUERIES, 2.5)


def test_a_block_is_shorter_if_time_is_short_and_refused_if_it_says_nothing() -> None:
    found = plan_block(10, 0.01, block_s=0.25, others_s=0.5, budget_s=150, rounds=9)
    assert found.queries == int(10 * (150 / 9 - 0.5))
    assert found.duration_s == pytest.approx(found.queries / 10)
    with pytest.raises(JobError, match=r"with 0\.5 queries .* a round takes 200 s") as error:
        plan_block(0.5, 0.01, block_s=0.25, others_s=0.5, budget_s=150, rounds=9)
    assert error.value.code == BAD_JOB and "raise the job's time limit" in error.value.what


@given(
    rate=st.floats(1e-3, 1e9),
    service_s=st.floats(1e-7, 1e2),
    block_s=st.floats(0.25, 1e3),
    others_s=st.floats(0.5, 4e3),
    budget_s=st.floats(-10, 1e6),
)
def test_a_block_fits_into_the_budget(
    rate: float, service_s: float, block_s: float, others_s: float, budget_s: float
) -> None:
    try:
        found = plan_block(rate, service_s, block_s, others_s, budget_s, 9)
    except JobError:
        pace_s = max(1 / rate, service_s)
        least_s = max(block_s, FEWEST_QUERIES * pace_s, rate * block_s * service_s)
        assert others_s + least_s > budget_s
        return
    assert FEWEST_QUERIES <= found.queries <= QUERIES
    assert found.duration_s >= block_s and others_s + found.duration_s <= budget_s


@given(
    parts=st.lists(st.tuples(st.integers(1, 10**12), st.integers(0, 10**12)), min_size=1),
)
def test_percentiles_of_service_are_at_most_those_with_the_queue(
    parts: list[tuple[int, int]],
) -> None:
    service = np.array([a for a, _ in parts], np.int64)
    durations = np.array([a + b for a, b in parts], np.int64)
    found = block_figures(service, durations)
    assert found["service_p50_ns"] <= found["service_p99_ns"] <= found["harness_p99_ns"]
    assert min(service) <= found["service_mean_ns"] <= max(service)
    assert percentile(service) in service


def test_percentiles_are_those_of_loadgen() -> None:
    values = np.arange(200, dtype=np.int64)
    assert percentile(values) == 198 and percentile(values, 0.5) == 100
    assert percentile(values[:1]) == 0


def test_the_time_of_the_worker_is_apart_from_the_time_in_the_queue(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The model takes 10 ticks; the second query waits for the first one."""
    clock = SimpleNamespace(ticks=0)

    def tick() -> int:
        return int(clock.ticks)

    monkeypatch.setattr(sut_module, "time", SimpleNamespace(perf_counter_ns=tick))
    issued = threading.Event()

    def infer(batch: Any) -> Any:
        issued.wait(10)
        clock.ticks += 10
        return batch

    task: Any = SimpleNamespace(run=infer, answer=lambda output: np.zeros(len(output), np.int32))
    library: Any = SimpleNamespace(take=lambda indices: indices)
    loadgen: Any = SimpleNamespace(
        QuerySampleResponse=FakeResponse, QuerySamplesComplete=lambda completed: None
    )
    sut = TimedWorkerSut(loadgen, task, library, np.zeros(4, np.int32), 8, 1)
    for number in range(2):
        sut.issue([SimpleNamespace(id=number, index=number)])
    issued.set()
    sut.close()
    assert sut.service_times.values().tolist() == [10, 10]
    assert sut.samples.values().tolist() == [10, 20]
