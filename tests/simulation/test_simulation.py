"""Nothing lost, nothing twice: a few hundred seeds, and every deliberate bug is found."""

from __future__ import annotations

import os

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.simulate import simulate

SEEDS = 300
MOST_SEEDS_FOR_A_MUTANT = 1500


@pytest.mark.parametrize("tenth", range(10))
def test_no_seed_breaks_an_invariant(tenth: int) -> None:
    for seed in range(tenth * SEEDS // 10, (tenth + 1) * SEEDS // 10):
        outcome = simulate(seed)
        assert not outcome.violation, "\n".join(
            [*outcome.history[-100:], f"seed {seed}: {outcome.violation}"]
        )


def test_a_seed_replays_exactly() -> None:
    first, second = simulate(7), simulate(7)
    assert first.history == second.history
    assert first.steps == second.steps


def test_simulations_do_real_work() -> None:
    outcomes = [simulate(seed) for seed in range(40)]
    assert sum(outcome.runs for outcome in outcomes) > 80
    text = "\n".join(line for outcome in outcomes for line in outcome.history)
    for happening in ("killed", "power failed", "backup restored", "is cut", "lease of"):
        assert happening in text
    for fault in ("drain", "paused campaign", "retry"):
        assert f"fault: {fault}" in text


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_every_deliberate_bug_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[name](monkeypatch)
    found = next(
        (seed for seed in range(MOST_SEEDS_FOR_A_MUTANT) if simulate(seed).violation), None
    )
    assert found is not None, f"{MOST_SEEDS_FOR_A_MUTANT} seeds did not notice {name}"
    if os.environ.get("SHOW_MUTANTS"):
        print(f"{name}: seed {found}: {simulate(found).violation.strip().splitlines()[-1]}")
