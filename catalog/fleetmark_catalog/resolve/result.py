"""What resolving gives: a lock and where its blobs come from, or the reasons why not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Union

from fleetmark_catalog.load.model import Build, Location
from fleetmark_core.lockfile import Lock


@dataclass(frozen=True)
class LocalFile:
    """A file of a component's own folder."""

    name: str
    size_bytes: int
    path: Path


@dataclass(frozen=True)
class WheelSource:
    """An exact wheel, to be had from a package index.

    `requirement` is `name==version`; `python_version` (3.11) and `platforms` (tags) are what pip
    must be told to find it from any machine.
    """

    requirement: str
    filename: str
    sha256: str
    size_bytes: int
    python_version: str
    platforms: tuple[str, ...]


@dataclass(frozen=True)
class BuiltWheel:
    """A wheel that the controller builds by a recipe; nobody else has it."""

    name: str
    size_bytes: int


@dataclass(frozen=True)
class Fetch:
    """A file that is fetched on demand from the first location that has it."""

    name: str
    size_bytes: int
    locations: tuple[Location, ...]


Source = Union[LocalFile, WheelSource, BuiltWheel, Fetch]  # noqa: UP007 - an alias at run time, for Python 3.10 too


@dataclass(frozen=True)
class Resolution:
    """Either `lock`, with the source of every blob but the harness by sha256, or `reasons`.

    `explanation` tells a person how it came to that: what was chosen and for whom, what was not.
    `builds` are wheels that must be built first; until then the lock names each by its build's key.
    """

    lock: Lock | None
    reasons: tuple[str, ...]
    sources: dict[str, Source]
    explanation: tuple[str, ...] = ()
    builds: tuple[Build, ...] = ()
