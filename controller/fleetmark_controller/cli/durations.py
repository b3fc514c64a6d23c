"""Durations as short text for display."""

from __future__ import annotations


def about(seconds: float) -> str:
    """Return a duration with `about`: `about 40 s`, `about 12 min`, `about 3 h 20 min`."""
    return f"about {left(seconds)}"


def left(seconds: float) -> str:
    """Return a duration: `40 s`, `12 min`, `3 h 20 min`, `7 d`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours >= 48:
        return f"{round(seconds / 86400)} d"
    return f"{hours} h {rest} min" if rest and hours < 24 else f"{hours} h"
