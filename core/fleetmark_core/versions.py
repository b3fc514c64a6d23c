"""Versions and version ranges: Python's scheme, and a general scheme for everything else.

Scheme `python` is PEP 440 (`1.23.2`, `2.0rc1`; ranges `>=1.20,<2`, `~=2.14.0`, `==1.*`).

Scheme `general` orders any text that is used as a version (`r35.4.1`, `8.6.1-1+cuda11.8`, `2024a`,
`10.2.0-1ubuntu1`):

1. A leading `v`, `V`, `r` or `R` before a digit is ignored.
2. The text is split into numbers and words, at every punctuation character and between letters and
   digits. Case is ignored.
3. Parts are compared from the left: numbers by value, words alphabetically, and a number is above a
   word. If one text is a prefix of the other, the longer one is below if its next part is one of
   the words `dev`, `a`, `alpha`, `b`, `beta`, `c`, `rc`, `pre`, `preview`, and above otherwise.
   Trailing zeros are ignored: `1.2` equals `1.2.0`.
4. A range is a comma-separated list of `==`, `!=`, `>=`, `<=`, `>`, `<`, each with a version; all
   of them must hold. `==1.2.*` and `!=1.2.*` compare the parts before the star.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from itertools import zip_longest

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

PYTHON = "python"
GENERAL = "general"
SCHEMES = (PYTHON, GENERAL)

_BEFORE = {"dev": 0, "a": 1, "alpha": 1, "b": 2, "beta": 2, "c": 3, "rc": 3, "pre": 3, "preview": 3}
_PART = re.compile(r"\d+|[a-z]+")
_CLAUSE = re.compile(r"\s*(==|!=|>=|<=|>|<)\s*([0-9A-Za-z][0-9A-Za-z.+!_~:-]*?)(\.\*)?\s*")
_Part = tuple[int, int, str]
_END: _Part = (2, 0, "")


def is_version(text: str, scheme: str = PYTHON) -> bool:
    """Return whether `text` is a version of this scheme."""
    if scheme == PYTHON:
        try:
            Version(text)
        except InvalidVersion:
            return False
        return True
    return bool(_PART.search(text.lower()))


def is_range(text: str, scheme: str = PYTHON) -> bool:
    """Return whether `text` is a range of this scheme. The empty range allows everything."""
    try:
        _test(text, scheme)
    except ValueError:
        return False
    return True


@functools.lru_cache(maxsize=65536)
def in_range(version: str, wanted: str, scheme: str = PYTHON) -> bool:
    """Return whether `version` is in the range `wanted`.

    A text that is not a version is only in the empty range.

    Raises:
        ValueError: `wanted` is not a range of this scheme.
    """
    test = _test(wanted, scheme)
    return test(version) if is_version(version, scheme) else not wanted.strip()


def compare(one: str, other: str, scheme: str = PYTHON) -> int:
    """Return -1, 0 or 1 if `one` is below, equal to or above `other`.

    Raises:
        ValueError: one of them is not a version of this scheme.
    """
    if scheme == PYTHON:
        left, right = Version(one), Version(other)
        return (left > right) - (left < right)
    for a, b in zip_longest(_parts(one), _parts(other), fillvalue=_END):
        if a != b:
            return 1 if a > b else -1
    return 0


def _parts(text: str) -> tuple[_Part, ...]:
    """Return the parts as sortable tuples: pre-release words, end of text, words, numbers."""
    lower = text.lower()
    if re.match(r"[vr]\d", lower):
        lower = lower[1:]
    found: list[_Part] = []
    for part in _PART.findall(lower):
        if part.isdigit():
            found.append((4, int(part), ""))
        elif part in _BEFORE:
            found.append((0, _BEFORE[part], ""))
        else:
            found.append((3, 0, part))
    if not found:
        raise ValueError(f"{text!r} is not a version")
    return _without_zeros(found)


def _without_zeros(parts: list[_Part]) -> tuple[_Part, ...]:
    # 1.0-rc1 must be below 1, so zeros before a word are ignored as well.
    kept: list[_Part] = []
    for index, part in enumerate(parts):
        following = next((p for p in parts[index:] if p != (4, 0, "")), _END)
        if part == (4, 0, "") and following[0] != 4:
            continue
        kept.append(part)
    return tuple(kept)


@functools.lru_cache(maxsize=4096)
def _test(text: str, scheme: str) -> Callable[[str], bool]:
    if scheme == PYTHON:
        try:
            allowed = SpecifierSet(text)
        except InvalidSpecifier as error:
            raise ValueError(f"{text!r} is not a version range") from error
        return lambda version: allowed.contains(version, prereleases=True)
    clauses = []
    for clause in text.split(",") if text.strip() else ():
        match = _CLAUSE.fullmatch(clause)
        if match is None or (match[3] and match[1] not in ("==", "!=")):
            raise ValueError(f"{clause.strip()!r} is not a version range")
        clauses.append((match[1], match[2], bool(match[3])))
        _parts(match[2])
    return lambda version: all(_holds(version, *clause) for clause in clauses)


def _holds(version: str, relation: str, wanted: str, star: bool) -> bool:
    if star:
        parts, first = _raw(version), _raw(wanted)
        return (parts[: len(first)] == first) == (relation == "==")
    order = compare(version, wanted, GENERAL)
    return {
        "==": order == 0,
        "!=": order != 0,
        ">=": order >= 0,
        "<=": order <= 0,
        ">": order > 0,
        "<": order < 0,
    }[relation]


def _raw(text: str) -> list[str]:
    lower = text.lower()
    lower = lower[1:] if re.match(r"[vr]\d", lower) else lower
    return [str(int(part)) if part.isdigit() else part for part in _PART.findall(lower)]
