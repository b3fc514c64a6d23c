"""The search for the highest valid rate: what it promises, however its runs turn out."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_harness.search import MAX_RUNS, RESOLUTION, STEP, Search, SearchTrial, middle

RATES = st.floats(0.5, 1e6)
SHARES = st.floats(0.05, 1.0)


def run_search(start: float, ceiling: float, valid: Callable[[float], bool]) -> Search:
    """A search to its end. It must end by itself."""
    search = Search(start, ceiling)
    for _ in range(1000):
        rate = search.next_rate()
        if rate is None:
            return search
        search = search.record(SearchTrial(rate, valid(rate)))
    raise AssertionError("the search does not end")


def check_promises(search: Search) -> None:
    assert 0 < len(search.trials) <= MAX_RUNS
    assert all(0 < trial.target <= search.ceiling for trial in search.trials)
    found = search.found
    if found is None:
        return
    there = [trial.valid for trial in search.trials if trial.target == found]
    assert there.count(True) > there.count(False)


@given(RATES, SHARES, st.lists(st.booleans(), min_size=MAX_RUNS, max_size=MAX_RUNS))
def test_whatever_runs_say_it_ends_and_finds_only_what_was_valid(
    ceiling: float, share: float, verdicts: list[bool]
) -> None:
    verdict: Iterator[bool] = iter(verdicts)
    check_promises(run_search(ceiling * share, ceiling, lambda rate: next(verdict)))


@given(RATES, st.floats(0.1, 1.0), st.floats(0.3, 4.0))
def test_without_noise_it_finds_the_limit(ceiling: float, share: float, times: float) -> None:
    start = ceiling * share
    limit = start * times
    search = run_search(start, ceiling, lambda rate: rate <= limit)
    check_promises(search)
    found = search.found
    assert found is not None and found <= limit
    assert found == ceiling or limit / found <= RESOLUTION
    # Accepted only because it was measured twice.
    assert sum(trial.target == found for trial in search.trials) >= 2


@given(RATES, st.floats(0.3, 1.0), st.floats(0.5, 2.0), st.floats(0, 0.1), st.integers(0, 10**6))
def test_validity_is_a_matter_of_chance_near_the_limit(
    ceiling: float, share: float, times: float, width: float, seed: int
) -> None:
    """The probability falls from 1 to 0 between limit × (1 - width) and limit × (1 + width)."""
    chance = random.Random(seed)
    limit = ceiling * share * times

    def valid(rate: float) -> bool:
        low, high = limit * (1 - width), limit * (1 + width)
        return rate <= low or (rate < high and chance.random() < (high - rate) / (high - low))

    search = run_search(ceiling * share, ceiling, valid)
    check_promises(search)
    found = search.found
    assert found is not None
    assert found <= limit * (1 + width) + 1e-9
    assert found == ceiling or found >= limit * (1 - width) / RESOLUTION / STEP


@pytest.mark.parametrize("spoiled", [0.0, 0.05, 0.15])
def test_a_neighbours_bursts_do_not_mislead_it(spoiled: float) -> None:
    """Runs that would be valid are spoiled at random: most searches still end close below."""
    near, runs = 0, []
    for seed in range(400):
        chance = random.Random(seed)
        limit = 1000 * chance.uniform(0.6, 2.0)

        def valid(rate: float, limit: float = limit, chance: random.Random = chance) -> bool:
            return rate <= limit and chance.random() >= spoiled

        search = run_search(1000, 2100, valid)
        check_promises(search)
        found = search.found
        assert found is not None and found <= limit
        near += found >= 0.93 * limit
        runs.append(len(search.trials))
    assert near >= 400 * (1 - spoiled)
    assert sum(runs) / len(runs) < 15


def test_a_device_that_cannot_do_it_at_all() -> None:
    search = run_search(1000, 2000, lambda rate: False)
    assert search.found is None
    assert len(search.trials) <= MAX_RUNS


def test_one_bad_run_is_repeated_and_one_good_run_is_not_enough() -> None:
    search = Search(100, 1000).record(SearchTrial(100, valid=False))
    assert search.next_rate() == 100 and search.found is None
    search = search.record(SearchTrial(100, valid=True))
    assert search.next_rate() == 100
    search = search.record(SearchTrial(100, valid=True))
    assert search.next_rate() == pytest.approx(100 * STEP) and search.found == 100
    # What was good and is not confirmed is given up for a lower rate that was good.
    search = (
        Search(100, 120).record(SearchTrial(100, valid=True)).record(SearchTrial(120, valid=True))
    )
    assert search.next_rate() == 120
    for _ in range(2):
        search = search.record(SearchTrial(120, valid=False))
    assert search.found == 100
    rate = search.next_rate()
    assert rate is not None and 100 < rate < 120


def test_the_middle_of_the_valid_ones() -> None:
    trials = [SearchTrial(1, valid, measured=m) for valid, m in ((True, 5), (False, 1), (True, 3))]
    best = middle(trials)
    assert best is not None and best.measured == 3
    best = middle([*trials, SearchTrial(1, valid=True, measured=4)])
    assert best is not None and best.measured == 4
    assert middle(trials[1:2]) is None
