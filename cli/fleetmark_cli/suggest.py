"""Finds the known word that a mistyped one probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def hint(word: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or the known words when none is near, or an empty string."""
    words = sorted(set(known))
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.55)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Known: {', '.join(words[:12])}{', …' if len(words) > 12 else ''}" if words else ""
