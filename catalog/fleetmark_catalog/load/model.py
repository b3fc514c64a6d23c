"""The component model: what a validated `component.toml` says, as immutable values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetmark_catalog.core.lock import BlobRef

KINDS = (
    "benchmark",
    "program",
    "model",
    "dataset",
    "package",
    "soft",
    "os",
    "container",
    "system",
    "suite",
)
"""The ten kinds of the catalog. Kinds without a schema of their own body carry a free table."""


@dataclass(frozen=True)
class Choice:
    """One component that would meet a requirement; `version` is a PEP 440 range or empty."""

    kind: str
    name: str
    version: str = ""

    def __str__(self) -> str:
        """`package/numpy<2`."""
        return f"{self.kind}/{self.name}{self.version}"


@dataclass(frozen=True)
class Requirement:
    """What a component needs: the first of `choices` that fits, in the order of preference.

    A variation's requirement replaces the component's one of the same `role`. `when` is a selector
    over the device's facts; where it does not match, nothing is required.
    """

    role: str
    choices: tuple[Choice, ...]
    when: str = ""


@dataclass(frozen=True)
class Variation:
    """A named change. At most one variation of a `group` is chosen; ungrouped ones add up."""

    name: str
    group: str = ""
    default: bool = False
    title: str = ""
    tags: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()
    set: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Location:
    """A place besides the component's folder that holds an artefact's bytes.

    One of: `url`; `deb` (a package of the machine's own apt sources) with `path` inside it; `wheel`
    (file name of a wheel on the machine's own package index) with its sha256 and `path` inside it;
    `recipe` (a name in bundling/recipes) that makes the file from others, as `options` say;
    `provided`: nobody but a person can get it, and this text says how.
    `compression` is `gzip` or empty. `size_bytes` bounds the transfer.
    """

    url: str = ""
    deb: str = ""
    path: str = ""
    compression: str = ""
    size_bytes: int = 0
    wheel: str = ""
    wheel_sha256: str = ""
    recipe: str = ""
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    provided: str = ""


@dataclass(frozen=True)
class Artifact:
    """Bytes that a component owns. `sha256` and `size_bytes` are those of the decompressed file.

    Chosen when all words of `when` are among the variations. `role` is the input's name in a job.
    """

    name: str
    role: str
    sha256: str
    size_bytes: int
    when: tuple[str, ...] = ()
    file: str = ""
    locations: tuple[Location, ...] = ()

    @property
    def blob(self) -> BlobRef:
        """The artefact as a lock names it."""
        return BlobRef(self.name, self.sha256, self.size_bytes)


@dataclass(frozen=True)
class WheelFile:
    """One exact wheel of a distribution."""

    filename: str
    name: str
    version: str
    sha256: str
    size_bytes: int

    @property
    def blob(self) -> BlobRef:
        """The wheel as a lock names it."""
        return BlobRef(self.filename, self.sha256, self.size_bytes)


@dataclass(frozen=True)
class WheelSet:
    """All wheels of one version of a package for one Python and architecture; the own one first.

    `python` is like `3.11`. What further package components of the catalog supply is not in it.
    """

    version: str
    python: str
    arch: str
    wheels: tuple[WheelFile, ...]


@dataclass(frozen=True)
class Component:
    """One unit of the catalog.

    `sha256` is that of the component.toml; `body` is the kind's own table, validated; `files` are
    the digests of files that a program executes, taken when the component was loaded; `wheels` is
    a package's wheel lock.
    """

    kind: str
    name: str
    version: str
    title: str
    license: str
    source: str
    folder: Path
    sha256: str
    tags: tuple[str, ...] = ()
    device: str = ""
    requires: tuple[Requirement, ...] = ()
    variations: dict[str, Variation] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()
    body: dict[str, Any] = field(default_factory=dict)
    files: tuple[BlobRef, ...] = ()
    wheels: tuple[WheelSet, ...] = ()

    @property
    def id(self) -> str:
        """`kind/name`."""
        return f"{self.kind}/{self.name}"

    def groups(self) -> dict[str, list[str]]:
        """Variation names by group, in the order of the file."""
        groups: dict[str, list[str]] = {}
        for variation in self.variations.values():
            if variation.group:
                groups.setdefault(variation.group, []).append(variation.name)
        return groups

    def versions(self) -> tuple[str, ...]:
        """Versions that can be had, the preferred one first."""
        others = (*self.body.get("newer", ()), *self.body.get("older", ()))
        return (self.version, *map(str, others))
