"""The error of a program, from the end of what it wrote to stderr. Pure."""

from __future__ import annotations

MAX_LENGTH = 400
"""Longest text that a job's reason quotes."""
_BEGINNING = 100
"""So much of a longer text's beginning is kept: the kind of error and where it occurred."""
_TRACEBACK = "Traceback (most recent call last):"
_HARNESS = "fleetmark: "
"""How the harness begins its own last message."""
_GAP = " … "


def error_text(written: str) -> str:
    """Return the last error message in `written` as one line of at most `MAX_LENGTH` characters.

    It is the harness's own last message, or else the message of the last Python exception, with
    all its lines, or else the last line. Of a longer message the beginning and the end are kept:
    the end names the cause.
    """
    lines = [line.rstrip() for line in written.splitlines() if line.strip()]
    text = " ".join(line.strip() for line in lines[_start(lines) :])
    shown = "".join(char if char.isprintable() else " " for char in text).strip()
    if len(shown) <= MAX_LENGTH:
        return shown
    end = MAX_LENGTH - _BEGINNING - len(_GAP)
    return f"{shown[:_BEGINNING].rstrip()}{_GAP}{shown[-end:].lstrip()}"


def _start(lines: list[str]) -> int:
    """Return the place of the first line of the message; the place of the last line by default."""
    last = max(0, len(lines) - 1)
    traces = [
        place for place, line in enumerate(lines) if line.lstrip(" +|").startswith(_TRACEBACK)
    ]
    after = range(traces[-1] + 1 if traces else 0, len(lines))
    own = [place for place in after if lines[place].startswith(_HARNESS)]
    if own:
        return own[-1]
    if not traces:
        return last
    # Frames are indented, and what follows them is the message.
    return next((place for place in after if not lines[place].startswith(" ")), last)
