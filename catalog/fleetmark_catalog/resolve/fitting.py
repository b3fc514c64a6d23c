"""Which of a package's wheel sets fits an interpreter. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from fleetmark_catalog.core.capabilities import Interpreter
from fleetmark_catalog.core.platforms import wheel_rank
from fleetmark_catalog.load.model import Component, WheelSet


def fit(
    component: Component, version: str, interpreter: Interpreter
) -> tuple[WheelSet | None, str]:
    """The wheels of `version` for the interpreter, or None and which distribution does not fit."""
    minor = ".".join(interpreter.version.split(".")[:2])
    what = f"{component.name} {version}"
    for entry in component.wheels:
        if entry.version != version or entry.python != minor:
            continue
        bad = next((w for w in entry.wheels if not fits(w.filename, interpreter)), None)
        if bad is None:
            return entry, ""
        if bad is not entry.wheels[0]:
            what = f"{bad.name} {bad.version}, which {component.name} {version} needs,"
    return None, what


def fits(filename: str, interpreter: Interpreter) -> bool:
    """Whether the interpreter can install the wheel."""
    return _fits(filename, interpreter.version, interpreter.abis, interpreter.platforms)


@functools.lru_cache(maxsize=65536)
def _fits(filename: str, version: str, abis: tuple[str, ...], platforms: tuple[str, ...]) -> bool:
    interpreter = Interpreter("", version, "", abis, platforms)
    return wheel_rank(filename, interpreter) is not None


@functools.lru_cache(maxsize=65536)
def _tags(filename: str) -> frozenset[Tag]:
    try:
        return parse_wheel_filename(filename)[3]
    except InvalidWheelFilename:
        return frozenset()


def platforms(filenames: Iterable[str]) -> set[str]:
    """Platform tags of the wheels."""
    return {tag.platform for filename in filenames for tag in _tags(filename)}
