"""Backoff doubles up to its longest delay, and begins anew after a success."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetmark_core.retry import Backoff, ReasonThrottle


def test_delays_double_up_to_the_longest() -> None:
    backoff = Backoff(0.5, 3.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


@given(st.floats(0.01, 10), st.floats(1, 100), st.floats(0, 1), st.integers(1, 12))
def test_jitter_only_shortens(first_s: float, factor: float, jitter: float, tries: int) -> None:
    longest_s = first_s * factor
    plain, shaken = Backoff(first_s, longest_s), Backoff(first_s, longest_s, jitter=jitter)
    for _ in range(tries):
        whole, shortened = plain.next_s(), shaken.next_s()
        assert whole * (1 - jitter) - 1e-9 <= shortened <= whole <= longest_s


def test_a_reason_is_logged_again_after_pauses_that_double() -> None:
    throttle = ReasonThrottle(30.0, 100.0)
    due = [second for second in range(400) if throttle.is_due("refused", second)]
    assert due == [0, 30, 90, 190, 290, 390]


def test_another_reason_is_logged_at_once_and_a_success_forgets_all() -> None:
    throttle = ReasonThrottle(30.0, 100.0, most_reasons=2)
    assert [throttle.is_due(reason, 0.0) for reason in "abca"] == [True, True, False, False]
    throttle.reset()
    assert throttle.is_due("c", 1.0)
