"""Answers in an accuracy log that may have been cut in its middle."""

from __future__ import annotations

import re

_ENTRY = re.compile(
    rb'\{ "seq_id" : \d+, "qsl_idx" : (\d+), "data" : "([0-9A-F]{8})", "token_count" : 0 \},?'
    rb'|\{ "seq_id" : \d+, "qsl_idx" : (\d+), "data" : "([0-9A-F]{8})" \},?'
)
_GAP = b"\n...\n"


def shown_answers(log: bytes) -> tuple[list[tuple[int, str]], bool, str]:
    """Index and answer of each whole entry, whether nothing was cut out, and what is strange."""
    parts = log.split(_GAP)
    whole = len(parts) == 1
    if len(parts) > 2:
        return [], False, "is cut more than once"
    found: list[tuple[int, str]] = []
    lines = log.strip().split(b"\n")
    if lines[0] != b"[" or lines[-1] != b"]":
        return [], whole, "does not begin and end as LoadGen's accuracy log does"
    for number, part in enumerate(parts):
        lines = part.strip(b"\n").split(b"\n")
        # At a cut there may be a part of an entry.
        last = len(lines) - 1
        for place, line in enumerate(lines):
            match = _ENTRY.fullmatch(line)
            if match:
                index, data = (group for group in match.groups() if group is not None)
                found.append((int(index), data.decode()))
                continue
            bracket = line == (b"[" if place == 0 else b"]") and place in (0, last)
            at_cut = not whole and place == (last if number == 0 else 0)
            if not bracket and not at_cut:
                return found, whole, f"has a line that LoadGen does not write: {line[:60]!r}"
    return found, whole, ""
