"""Extraction of a program's error from the end of its stderr. Pure."""

from __future__ import annotations

MAX_LENGTH = 400
"""Longest text that a job's reason quotes."""
_BEGINNING = 100
"""Number of characters kept from the beginning of a longer text: error kind and place."""
_TRACEBACK = "Traceback (most recent call last):"
_HARNESS = "fleetmark: "
"""Prefix of the last message that the harness itself writes."""
_FATAL = ("Fatal Python error: ", "terminate called ")
"""First words of a crash that Python's faulthandler or the C++ runtime reports."""
_STACK = ("Current thread 0x", "Thread 0x", "Extension modules: ", "<no Python frame>")
"""First words of the lines with which faulthandler continues: they do not name the cause."""
_GAP = " … "


def error_text(written: str) -> str:
    """Return the last error message in `written` as one line of at most `MAX_LENGTH` characters.

    This is the harness's own last message, else the report of a crash, else the message of the last
    Python exception with all its lines, else the last line. A longer message keeps its beginning
    and its end, because the end names the cause.
    """
    lines = [line.rstrip() for line in written.splitlines() if line.strip()]
    start = _start(lines)
    end = next(
        (place for place in range(start + 1, len(lines)) if lines[place].startswith(_STACK)),
        len(lines),
    )
    text = " ".join(line.strip() for line in lines[start:end])
    shown = "".join(char if char.isprintable() else " " for char in text).strip()
    if len(shown) <= MAX_LENGTH:
        return shown
    end = MAX_LENGTH - _BEGINNING - len(_GAP)
    return f"{shown[:_BEGINNING].rstrip()}{_GAP}{shown[-end:].lstrip()}"


def _start(lines: list[str]) -> int:
    """Return the index of the message's first line; by default the index of the last line."""
    last = max(0, len(lines) - 1)
    traces = [
        place for place, line in enumerate(lines) if line.lstrip(" +|").startswith(_TRACEBACK)
    ]
    after = range(traces[-1] + 1 if traces else 0, len(lines))
    own = [place for place in after if lines[place].startswith(_HARNESS)]
    if own:
        return own[-1]
    fatal = [place for place in after if lines[place].startswith(_FATAL)]
    if fatal:
        return fatal[-1]
    if not traces:
        return last
    # Frames are indented; the message follows them.
    return next((place for place in after if not lines[place].startswith(" ")), last)
