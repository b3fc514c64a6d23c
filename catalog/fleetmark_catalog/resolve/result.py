"""The result of resolving: a lockfile and the sources of its blobs, or the reasons why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Union

from fleetmark_catalog.load.model import Build, Location
from fleetmark_core.lockfile import Lockfile


@dataclass(frozen=True)
class LocalFile:
    """A file in a component's own folder."""

    name: str
    size_bytes: int
    path: Path


@dataclass(frozen=True)
class WheelSource:
    """An exact wheel from a package index.

    `requirement` is `name==version`. `python_version` (3.11) and `platforms` (tags) are the options
    that pip needs to find it from any host.
    """

    requirement: str
    filename: str
    sha256: str
    size_bytes: int
    python_version: str
    platforms: tuple[str, ...]


@dataclass(frozen=True)
class BuiltWheel:
    """A wheel that the controller builds from a recipe; no index has it."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Fetch:
    """A file that is downloaded on demand from the first location that has it."""

    name: str
    size_bytes: int
    locations: tuple[Location, ...]


Source = Union[LocalFile, WheelSource, BuiltWheel, Fetch]  # noqa: UP007 - an alias at run time, for Python 3.10 too


@dataclass(frozen=True)
class Resolution:
    """Either `lock` with `sources`, or `reasons`.

    `sources` are by sha256 and contain every blob except the harness. `explanation` describes for
    users what was chosen, for which requirement, and what was not chosen. `builds` are wheels that
    must be built first; until then the lockfile names each of them by its build's key.
    """

    lock: Lockfile | None
    reasons: tuple[str, ...]
    sources: dict[str, Source]
    explanation: tuple[str, ...] = ()
    builds: tuple[Build, ...] = ()
