"""Pure functions that derive verdicts from the output of programs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from fleetmark_agent.software.models import MAX_VERSION, DetectionStatus, Finding, line

_NUMBERS = re.compile(r"v?(\d+(?:\.\d+)*)")
_RANK = {
    DetectionStatus.FOUND: 0,
    DetectionStatus.BROKEN: 1,
    DetectionStatus.WRONG_VERSION: 2,
    DetectionStatus.ABSENT: 3,
}


def version_in(pattern: re.Pattern[str] | None, text: str) -> str | None:
    """Return the version in `text`, or None if the pattern does not match.

    Without a pattern, return an empty string: the entry has no version.
    """
    if pattern is None:
        return ""
    found = pattern.search(text)
    if found is None:
        return None
    version = found.group(1) if pattern.groups else found.group(0)
    return line(version or "", MAX_VERSION) or None


def comparable(version: str) -> Version | None:
    """Parse a version as PEP 440 defines it.

    Any other version is reduced to its leading numbers: `10.2.1-6ubuntu1` becomes 10.2.1. Return
    None if it has none.
    """
    try:
        return Version(version)
    except InvalidVersion:
        numbers = _NUMBERS.match(version)
        return Version(numbers.group(1)) if numbers else None


def version_fault(version: str, wanted: SpecifierSet) -> str:
    """Return why a version does not meet the requirement; an empty string if it does."""
    if not wanted:
        return ""
    compared = comparable(version)
    if compared is None:
        return f"version {version!r} cannot be compared with {wanted}"
    return "" if wanted.contains(compared) else f"version {version} does not match {wanted}"


def chosen(met: Sequence[Finding], several: bool) -> list[Finding]:
    """Return the findings that a rule reports: all that are present, or only the best."""
    present = [finding for finding in met if finding.verdict is not DetectionStatus.ABSENT]
    if several or len(present) < 2:
        return present
    return [min(present, key=lambda finding: _RANK[finding.verdict])]
