"""The result of a detection: the findings of each rule, or one `absent` finding.

Texts come from foreign programs; what is kept is printable, one line and short.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from fleetmark_core.shared_repr import SharedRepr

MAX_VERSION = 60
MAX_TEXT = 300
MAX_DETAILS = 32
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,39}")


class DetectionStatus(Enum):
    """Outcome of a rule; the value is part of the public output."""

    FOUND = "found"
    ABSENT = "absent"
    WRONG_VERSION = "wrong version"
    BROKEN = "broken"
    """It is present but does not work."""


@dataclass(frozen=True, repr=False)
class Finding(SharedRepr):
    """One piece of software at one path; `reason` explains every verdict except FOUND.

    `path` is the program, library, file, or the Python that has the module. `tags` are the tags
    that the device gets for it.
    """

    rule: str
    software: str
    verdict: DetectionStatus
    version: str = ""
    path: str = ""
    reason: str = ""
    details: dict[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class DetectedSoftware(SharedRepr):
    """All findings of one detection.

    `rules_digest` identifies the rules, and `boot` the boot in which they were applied. A detection
    with other values of these is outdated. `finished_unix_s` is read from the device's clock.
    """

    findings: tuple[Finding, ...]
    rules_digest: str
    boot: str
    finished_unix_s: float
    duration_s: float


def line(text: str, limit: int = MAX_TEXT) -> str:
    """Return a foreign text made safe to show and store: printable, one line, limited."""
    plain = "".join(c if c.isprintable() else " " for c in text[: 8 * limit])
    return " ".join(plain.split())[:limit]


def details_of(output: str) -> dict[str, str]:
    """Return the `key=value` lines of a proof's output; other lines are ignored."""
    found: dict[str, str] = {}
    for row in output.splitlines():
        key, equals, value = row.partition("=")
        if equals and _KEY.fullmatch(key.strip()) and line(value):
            found[key.strip()] = line(value)
        if len(found) == MAX_DETAILS:
            break
    return found


def last_line(*texts: str) -> str:
    """Return the last non-empty line of the first non-empty text: Python's errors end with it."""
    return _a_line(texts, -1)


def first_line(*texts: str) -> str:
    """Return the first non-empty line of the first non-empty text: other errors begin with it."""
    return _a_line(texts, 0)


def _a_line(texts: tuple[str, ...], which: int) -> str:
    for text in texts:
        rows = text.splitlines()
        short = [shown for row in (rows[:50] if which == 0 else rows[-50:]) if (shown := line(row))]
        if short:
            return short[which]
    return ""


def found_only(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that count as capabilities of the device."""
    return [finding for finding in findings if finding.verdict is DetectionStatus.FOUND]
