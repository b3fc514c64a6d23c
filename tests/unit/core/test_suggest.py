"""Suggestions for mistyped words: the same for commands, catalog, selectors and settings."""

from __future__ import annotations

import pytest

from fleetmark_core.suggest import hint, nearest

TAGS = ["arm64", "armv6", "armv7", "x86", "x86_64"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [("arm46", "arm64"), ("arm6", "armv6"), ("x86-64", "x86_64"), ("x68", "x86"), ("tpu", "")],
)
def test_the_nearest_word(word: str, expected: str) -> None:
    assert nearest(word, TAGS) == expected


def test_swapped_letters_decide_between_equals() -> None:
    """Whatever order the words come in."""
    assert nearest("arm46", reversed(TAGS)) == nearest("arm46", TAGS) == "arm64"


def test_without_a_near_word_the_known_ones_are_named() -> None:
    assert hint("arm46", TAGS) == "Did you mean 'arm64'?"
    assert hint("zzz", ["b", "a"]) == "Known: a, b"
    assert hint("zzz", map(str, range(20))).endswith(", …")
    assert hint("zzz", []) == ""
