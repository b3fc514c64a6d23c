"""Finds the known word that is closest to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that is closest to `word`, or an empty string if none is similar."""
    # Imported here: an idle agent never needs it.
    import difflib

    found = difflib.get_close_matches(word, sorted(set(known)), n=5, cutoff=0.55)

    def likeness(other: str) -> tuple[float, bool]:
        # Swapped letters (arm46) are the most common mistake, so they break ties.
        ratio = difflib.SequenceMatcher(None, other, word).ratio()
        return round(ratio, 6), sorted(other) == sorted(word)

    return max(found, key=likeness) if found else ""


def hint(word: str, known: Iterable[str]) -> str:
    """Return `Did you mean 'x'?`, or the known words if none is similar, or an empty string."""
    words = sorted(set(known))
    near = nearest(word, words)
    if near:
        return f"Did you mean {near!r}?"
    return f"Known: {', '.join(words[:12])}{', …' if len(words) > 12 else ''}" if words else ""
