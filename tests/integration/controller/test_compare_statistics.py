"""A comparison is right as often as it says: simulated runs, with and without a difference."""

from __future__ import annotations

import math

import pytest

from tests.unit.controller.test_compare import Draw, normal, reported, skewed


@pytest.mark.parametrize(
    ("draw", "n", "paired", "devices"),
    [
        (normal, 5, False, 1),
        pytest.param(normal, 10, False, 1, marks=pytest.mark.slow),
        pytest.param(skewed, 5, False, 1, marks=pytest.mark.slow),
        (normal, 8, True, 1),
        pytest.param(normal, 5, False, 3, marks=pytest.mark.slow),
    ],
)
def test_where_nothing_differs_one_in_twenty_says_so(
    draw: Draw, n: int, paired: bool, devices: int
) -> None:
    assert 0.04 <= reported(draw, n, paired=paired, devices=devices) <= 0.06


@pytest.mark.parametrize(
    ("n", "change", "at_least"),
    [
        (5, 0.02, 0.75),
        pytest.param(10, 0.015, 0.80, marks=pytest.mark.slow),
        pytest.param(20, 0.01, 0.80, marks=pytest.mark.slow),
    ],
)
def test_the_power_is_as_the_documentation_states(n: int, change: float, at_least: float) -> None:
    assert reported(normal, n, shift=math.log1p(change)) >= at_least
