"""Matches wheels to interpreters by their tags (PEP 425, PEP 600)."""

from __future__ import annotations

from functools import lru_cache

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from fleetmark_core.capabilities import Interpreter


@lru_cache(maxsize=256)
def _ranks(version: str, abis: tuple[str, ...], platforms: tuple[str, ...]) -> dict[Tag, int]:
    major, minor = (int(part) for part in version.split(".")[:2])
    tags = [
        *cpython_tags((major, minor), abis=list(abis), platforms=list(platforms)),
        *compatible_tags((major, minor), f"cp{major}{minor}", list(platforms)),
    ]
    return {tag: rank for rank, tag in reversed(list(enumerate(tags)))}


def wheel_rank(filename: str, interpreter: Interpreter) -> int | None:
    """Return how well the wheel `filename` fits (0 is best), or None if it does not fit.

    A file name that is not that of a wheel also gives None.
    """
    try:
        tags = parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return None
    ranks = _ranks(interpreter.version, interpreter.abis, interpreter.platforms)
    found = [ranks[tag] for tag in tags if tag in ranks]
    return min(found) if found else None
