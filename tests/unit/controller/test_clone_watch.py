"""Two agents with one identity are found; agents that restart are not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.identity.clone_watch import RETURNS, CloneWatch


def test_two_agents_that_take_turns_are_found_once() -> None:
    watch = CloneWatch()
    found = [watch.hello("d", boot) for boot in "ababababab"]
    assert found.count(True) == 1 and found.index(True) == 1 + RETURNS
    assert watch.is_shared("d") and not watch.is_shared("e")
    watch.forget("d")
    assert not watch.is_shared("d") and not watch.hello("d", "a")


@given(st.lists(st.integers(1, 4), max_size=200))
def test_an_agent_that_restarts_and_reconnects_is_never_taken_for_two(streams: list[int]) -> None:
    """Each process connects a few times, then ends."""
    watch = CloneWatch()
    for boot, count in enumerate(streams):
        assert not any(watch.hello("d", str(boot)) for _ in range(count))


@given(st.integers(0, 3), st.integers(0, 4))
def test_late_hellos_of_an_ended_process_prove_nothing(before: int, after: int) -> None:
    """A stopped controller reads them after those of the next process, which comes once more."""
    watch = CloneWatch()
    boots = ["old"] * (1 + before) + ["new", "old", "new"] + ["new"] * after
    assert not any(watch.hello("d", boot) for boot in boots)


@given(st.permutations(["a", "a", "a", "b", "b", "b", "c", "c", "c"]), st.integers(2, 5))
def test_three_agents_that_take_turns_for_long_are_found(order: list[str], rounds: int) -> None:
    watch = CloneWatch()
    assert any([watch.hello("d", boot) for boot in [*order, *"abc" * rounds]])
