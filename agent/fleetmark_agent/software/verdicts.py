"""Verdicts from what programs said. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from fleetmark_agent.software.models import MAX_VERSION, Finding, Verdict, line

_NUMBERS = re.compile(r"v?(\d+(?:\.\d+)*)")
_RANK = {Verdict.FOUND: 0, Verdict.BROKEN: 1, Verdict.WRONG_VERSION: 2, Verdict.ABSENT: 3}


def version_in(pattern: re.Pattern[str] | None, text: str) -> str | None:
    """The version that `text` tells; None if it tells none where it should.

    Without a pattern there is no version to tell, which is an empty text.
    """
    if pattern is None:
        return ""
    found = pattern.search(text)
    if found is None:
        return None
    version = found.group(1) if pattern.groups else found.group(0)
    return line(version or "", MAX_VERSION) or None


def comparable(version: str) -> Version | None:
    """A version in the terms of PEP 440.

    What is no such version is compared by its leading numbers: `10.2.1-6ubuntu1` as 10.2.1. None
    if there are none.
    """
    try:
        return Version(version)
    except InvalidVersion:
        numbers = _NUMBERS.match(version)
        return Version(numbers.group(1)) if numbers else None


def version_fault(version: str, wanted: SpecifierSet) -> str:
    """Why a version does not do; empty if it does."""
    if not wanted:
        return ""
    compared = comparable(version)
    if compared is None:
        return f"version {version!r} cannot be compared with {wanted}"
    return "" if wanted.contains(compared) else f"version {version} is not {wanted}"


def chosen(met: Sequence[Finding], several: bool) -> list[Finding]:
    """What a rule reports of all that was met: everything, or the first that is best."""
    present = [finding for finding in met if finding.verdict is not Verdict.ABSENT]
    if several or len(present) < 2:
        return present
    return [min(present, key=lambda finding: _RANK[finding.verdict])]
