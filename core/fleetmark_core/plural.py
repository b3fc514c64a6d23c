"""Counted nouns: `1 job`, `2 jobs`."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun, thousands separated; `plural` where an `s` does not do."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
