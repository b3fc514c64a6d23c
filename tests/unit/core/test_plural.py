"""Counted nouns."""

from __future__ import annotations

import pytest

from fleetmark_core.plural import counted


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (12000, "12,000 jobs")]
)
def test_one_is_singular(number: int, text: str) -> None:
    assert counted(number, "job") == text


def test_an_irregular_plural_is_given() -> None:
    assert [counted(n, "entry", "entries") for n in (1, 2)] == ["1 entry", "2 entries"]
