"""Wall clocks that step, beside a monotonic one that does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_core.clock import NS_PER_S, ClockStepDetector, iso, parse_iso

S = NS_PER_S


@given(st.lists(st.integers(1, 10**12), max_size=30))
def test_clocks_that_go_side_by_side_never_step(ticks: list[int]) -> None:
    watch, now = ClockStepDetector(10**18, 5), 0
    for tick in ticks:
        now += tick
        assert watch.check(10**18 + now, 5 + now) == 0.0


@pytest.mark.parametrize("step_s", [-86400, -11, 11, 86400])
def test_a_step_is_reported_once(step_s: int) -> None:
    watch = ClockStepDetector(10**18, 0)
    assert watch.check(10**18 + (1 + step_s) * S, 1 * S) == pytest.approx(step_s)
    assert watch.check(10**18 + (2 + step_s) * S, 2 * S) == 0.0


def test_what_a_time_server_slews_is_no_step() -> None:
    assert ClockStepDetector(10**18, 0).check(10**18 + 9 * S, 0) == 0.0


@given(st.integers(0, 4 * 10**18))
def test_times_survive_their_text(unix_ns: int) -> None:
    assert abs(parse_iso(iso(unix_ns)) - unix_ns) < 2_000_000
