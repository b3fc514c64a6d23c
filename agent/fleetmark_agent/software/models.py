"""What a detection says: one finding for each thing that a rule met, or one that nothing was met.

Texts come from foreign programs: what is kept is printable, one line and short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

MAX_VERSION = 60
MAX_TEXT = 300
MAX_DETAILS = 32
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")


class Verdict(Enum):
    """What became of a rule; the value is what people and programs read."""

    FOUND = "found"
    ABSENT = "absent"
    WRONG_VERSION = "wrong version"
    BROKEN = "broken"
    """It is there, and does not work."""


@dataclass(frozen=True)
class Finding:
    """One piece of software at one place; `reason` says why it is not simply found.

    `path` is the program, library, file, or the Python that has the module. `tags` are those that
    the board gets for it.
    """

    rule: str
    software: str
    verdict: Verdict
    version: str = ""
    path: str = ""
    reason: str = ""
    details: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Detection:
    """All findings of one look at the board.

    `rules_digest` names the rules that were used, `boot` the kernel's life in which they were; what
    was found under others is not worth keeping. `finished_unix_s` is the board's clock.
    """

    findings: tuple[Finding, ...]
    rules_digest: str
    boot: str
    finished_unix_s: float
    duration_s: float


def line(text: str, limit: int = MAX_TEXT) -> str:
    """What may be shown and stored of a foreign text: printable, one line, bounded."""
    plain = "".join(c if c.isprintable() else " " for c in text[: 8 * limit])
    return " ".join(plain.split())[:limit]


def details_of(output: str) -> dict[str, str]:
    """The lines `key=value` of what a proof printed; other lines mean nothing."""
    found: dict[str, str] = {}
    for row in output.splitlines():
        key, equals, value = row.partition("=")
        if equals and _KEY.fullmatch(key.strip()) and line(value):
            found[key.strip()] = line(value)
        if len(found) == MAX_DETAILS:
            break
    return found


def last_line(*texts: str) -> str:
    """The last line that says something, of the first text that does: how Python's errors end."""
    return _a_line(texts, -1)


def first_line(*texts: str) -> str:
    """The first line that says something, of the first text that does: how other errors begin."""
    return _a_line(texts, 0)


def _a_line(texts: tuple[str, ...], which: int) -> str:
    for text in texts:
        rows = text.splitlines()
        short = [said for row in (rows[:50] if which == 0 else rows[-50:]) if (said := line(row))]
        if short:
            return short[which]
    return ""


def found_only(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that count as capabilities of the board."""
    return [finding for finding in findings if finding.verdict is Verdict.FOUND]
