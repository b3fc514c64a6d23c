"""Matches a package's wheels to an interpreter, and explains what is missing if none fits. Pure."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from fleetmark_catalog.load.model import Build, Component, WheelFile, WheelSet
from fleetmark_core.capabilities import Interpreter
from fleetmark_core.wheel_tags import wheel_rank

_PLATFORM = re.compile(r"(manylinux|musllinux)_(\d+)_(\d+)_(.+)|(manylinux[0-9]+|linux)_(.+)")
_OLD_NAMES = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


def fit(
    component: Component,
    version: str,
    interpreter: Interpreter,
    built: Mapping[str, WheelFile],
) -> tuple[WheelSet | None, str]:
    """Return the wheels of `version` for the interpreter, or None and what is missing.

    If no existing wheel fits and a recipe builds one that does, the result is that wheel: the one
    in `built` (by the build's key), or a wheel that is yet to be built.
    """
    minor = minor_of(interpreter)
    name = component.name
    what = f"{name} {version}"
    for entry in component.wheels:
        if entry.version != version or entry.python != minor:
            continue
        bad = next((w for w in entry.wheels if not fits(w.filename, interpreter)), None)
        if bad is None:
            return entry, ""
        if bad is not entry.wheels[0]:
            name = bad.name
            what = f"{bad.name} {bad.version}, which {component.name} {version} requires,"
    builds = list(builds_of(component, version))
    for build in builds:
        if build.python == minor and fits(build.filename, interpreter):
            return _to_build(build, built), ""
    own = name == component.name
    found = [
        (entry.python, wheel.filename)
        for entry in component.wheels
        if entry.version == version
        for wheel in (entry.wheels[:1] if own else entry.wheels)
        if own or wheel.name == name
    ]
    found += [(build.python, build.filename) for build in builds if own]
    return None, f"{what} has no wheel for {describe(interpreter)}{_instead(found, interpreter)}"


def builds_of(component: Component, version: str) -> Iterator[Build]:
    """Yield the wheels of `version` that the component's recipe can build."""
    recipe = component.recipe
    if recipe is None or version not in recipe.sdists:
        return
    for arch, python in itertools.product(recipe.arches, recipe.pythons):
        yield Build(
            distribution=component.body["distribution"],
            version=version,
            sdist=recipe.sdists[version],
            tools=recipe.tools,
            python=python,
            arch=arch,
            glibc=recipe.glibc,
            minutes=recipe.minutes,
        )


def _to_build(build: Build, built: Mapping[str, WheelFile]) -> WheelSet:
    known = built.get(build.key)
    wheel = known or WheelFile(
        build.filename, build.distribution, build.version, build.key, 0, build
    )
    return WheelSet(build.version, build.python, build.arch, (wheel,))


def fits(filename: str, interpreter: Interpreter) -> bool:
    """Return whether the interpreter can install the wheel."""
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
    """Return the platform tags of the wheels."""
    return {tag.platform for filename in filenames for tag in _tags(filename)}


def minor_of(interpreter: Interpreter) -> str:
    """Return the Python version without its patch level: `3.11`."""
    return ".".join(interpreter.version.split(".")[:2])


def describe(interpreter: Interpreter) -> str:
    """Return the most specific tags of an interpreter: `cp314 on manylinux_2_36_x86_64`."""
    # `linux_x86_64` may come first, and does not name the C library.
    telling = [name for name in interpreter.platforms if not name.startswith("linux_")]
    platforms = telling or list(interpreter.platforms)
    return " on ".join([*interpreter.abis[:1], *platforms[:1]])


def _instead(have_wheels: Iterable[tuple[str, str]], interpreter: Interpreter) -> str:
    """Return the wheels that a distribution has instead, limited to those nearest to the target.

    `have_wheels` are Python versions with names of wheels. Shown is the first of these groups that
    is not empty: the same Python and architecture, a platform of the interpreter, the same
    architecture, the same Python, all. So the reader sees only what differs.
    """
    pairs = {
        (f"cp{python.replace('.', '')}", least)
        for python, filename in have_wheels
        for tag in _tags(filename)
        if (least := _least(filename, tag.platform))
    }
    abis, have = set(interpreter.abis), set(interpreter.platforms)
    arch = arch_of(interpreter.platforms[0]) if interpreter.platforms else ""
    nearest = (
        [pair for pair in pairs if pair[0] in abis and arch_of(pair[1]) == arch]
        or [pair for pair in pairs if pair[1] in have]
        or [pair for pair in pairs if arch_of(pair[1]) == arch]
        or [pair for pair in pairs if pair[0] in abis]
        or list(pairs)
    )
    if not nearest:
        return "; it has no wheels"
    by_platforms: dict[str, set[str]] = {}
    for abi, platform in nearest:
        by_platforms.setdefault(platform, set()).add(abi)
    groups: dict[str, list[str]] = {}
    for platform, found in sorted(by_platforms.items()):
        groups.setdefault(", ".join(sorted(found, key=_natural)), []).append(platform)
    parts = [f"{names} on {' and '.join(places)}" for names, places in sorted(groups.items())]
    return f"; it has {'; '.join(parts)}"


def _least(filename: str, platform: str) -> str:
    """Return `platform` if no other platform of the wheel and architecture requires less.

    Otherwise return an empty string.
    """
    arch = arch_of(platform)
    rivals = [other for other in platforms([filename]) if arch_of(other) == arch]
    return platform if platform == min(rivals, key=_demand) else ""


def _demand(platform: str) -> tuple[int, int, str]:
    found = _PLATFORM.fullmatch(platform)
    if found is None or found[5] == "linux":
        return (0, 0, platform)
    if found[5]:
        # PEP 600 maps the old names to numbers; of two equal ones the numeric name is shown.
        return (*_OLD_NAMES.get(found[5], (0, 0)), f"~{platform}")
    return (int(found[2]), int(found[3]), platform)


def arch_of(platform: str) -> str:
    """Return `x86_64` for `manylinux_2_28_x86_64`; other texts are returned unchanged."""
    found = _PLATFORM.fullmatch(platform)
    return (found[4] or found[6]) if found else platform


def _natural(text: str) -> tuple[tuple[int, str], ...]:
    return tuple(
        (int(part) if part.isdecimal() else -1, part) for part in re.findall(r"\d+|\D+", text)
    )
