"""The component model: the content of a validated `component.toml` as immutable values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from fleetmark_core.digest import canonical_json, sha256_hex
from fleetmark_core.lockfile import BlobRef
from fleetmark_core.versions import PYTHON

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
"""The ten kinds of the catalog."""


@dataclass(frozen=True)
class Choice:
    """One way to meet a requirement: a named component, or any component that has all of `tags`.

    `version` is a range of the component's version scheme, or empty.
    """

    kind: str
    name: str
    version: str = ""
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return text like `package/numpy<2` or `dataset with tags imagenet, size-160`."""
        if not self.name:
            return f"{self.kind} with tags {', '.join(self.tags)}"
        return f"{self.kind}/{self.name}{self.version}"


@dataclass(frozen=True)
class Requirement:
    """A requirement of a component: the first of `choices` that fits, in order of preference.

    A variation's requirement replaces the component's requirement of the same `role`. `when` is a
    selector over the device's facts; the requirement applies only to devices that match it.
    """

    role: str
    choices: tuple[Choice, ...]
    when: str = ""


@dataclass(frozen=True)
class Variation:
    """A named change of a component.

    At most one variation of a `group` is chosen; ungrouped ones add up. A name that ends with `.#`
    represents all `name.VALUE` whose value is allowed by `value` (a definition like a program's
    parameter); `#` in `set` is replaced by the value. `excludes` are variations that cannot be
    combined with it. `when` is a selector that the device must match. `tags` are passed on to the
    other components of the benchmark.
    """

    name: str
    group: str = ""
    default: bool = False
    title: str = ""
    tags: tuple[str, ...] = ()
    requires: tuple[Requirement, ...] = ()
    set: dict[str, Any] = field(default_factory=dict)
    excludes: tuple[str, ...] = ()
    when: str = ""
    value: dict[str, Any] | None = None

    @property
    def open(self) -> bool:
        """Return whether the name represents many words, like `threads.#`."""
        return self.name.endswith(".#")


@dataclass(frozen=True)
class Location:
    """A source of an artifact's bytes other than the component's folder.

    Exactly one of these is set: `url`; `deb` (a package of the host's apt sources) with `path`
    inside it; `wheel` (file name of a wheel on the host's package index) with its sha256 and `path`
    inside it; `recipe` (a name in artifacts/recipes) that makes the file from others according to
    `options`; `provided`: only an operator can get the file, and this text says how.

    `compression` is `gzip` or empty. `size_bytes` limits the transfer.
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
    """A file that a component owns. `sha256` and `size_bytes` are those of the decompressed file.

    `md5` is set if the publisher states nothing else. Then `sha256` is empty and `size_bytes` is 0
    until an admin confirms the file, and no job gets it.

    It is chosen if all words of `when` are among the chosen variations and all of `tags` are passed
    on by variations. `role` is the input's name in a job.
    """

    name: str
    role: str
    sha256: str
    size_bytes: int
    when: tuple[str, ...] = ()
    file: str = ""
    locations: tuple[Location, ...] = ()
    tags: tuple[str, ...] = ()
    md5: str = ""

    @property
    def is_confirmed(self) -> bool:
        """Return whether the file's SHA-256 is known: declared, or confirmed by an admin."""
        return bool(self.sha256)

    @property
    def blob(self) -> BlobRef:
        """The artifact as it is named in a lockfile."""
        return BlobRef(self.name, self.sha256, self.size_bytes)


@dataclass(frozen=True)
class Sdist:
    """The exact source distribution of one version, available from a package index."""

    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Tool:
    """A pure Python wheel that a build needs, available from a package index as `name==version`."""

    requirement: str
    sha256: str


@dataclass(frozen=True)
class BuildRecipe:
    """The recipe for building a wheel of a package that has only sources.

    `where` is the place of the build (`controller`). `arches` and `pythons` (`3.11`) are the
    targets. `glibc` is the oldest glibc that can run the wheel (`2.28`). `tools` are needed for the
    build, `sdists` are the sources by version, and `minutes` is the approximate duration.
    """

    where: str
    arches: tuple[str, ...]
    pythons: tuple[str, ...]
    glibc: str
    tools: tuple[Tool, ...]
    sdists: dict[str, Sdist] = field(hash=False)
    minutes: int = 1


@dataclass(frozen=True)
class Build:
    """One wheel that a recipe builds: `distribution` `version` for one Python and architecture."""

    distribution: str
    version: str
    sdist: Sdist
    tools: tuple[Tool, ...]
    python: str
    arch: str
    glibc: str
    minutes: int = 1

    @property
    def filename(self) -> str:
        """The file name of the wheel, with the tags of the platforms that it supports."""
        name = canonicalize_name(self.distribution).replace("-", "_")
        tag = f"cp{self.python.replace('.', '')}"
        platform = f"manylinux_{self.glibc.replace('.', '_')}_{self.arch}"
        return f"{name}-{self.version}-{tag}-{tag}-{platform}.whl"

    @property
    def key(self) -> str:
        """The digest of everything that defines the build; equal keys are the same build."""
        return sha256_hex(
            canonical_json(
                {
                    "filename": self.filename,
                    "sdist": self.sdist.sha256,
                    "tools": [tool.sha256 for tool in self.tools],
                }
            )
        )

    def __str__(self) -> str:
        """Return text like `mlcommons-loadgen 6.0.17 for Python 3.11 on aarch64`."""
        return f"{self.distribution} {self.version} for Python {self.python} on {self.arch}"


@dataclass(frozen=True)
class WheelFile:
    """One exact wheel of a distribution.

    If `build` is set, the wheel does not exist yet: `sha256` is the build's key and the size is
    unknown. `made` means that the controller built it and no index has it.
    """

    filename: str
    name: str
    version: str
    sha256: str
    size_bytes: int
    build: Build | None = None
    made: bool = False

    @property
    def blob(self) -> BlobRef:
        """The wheel as it is named in a lockfile."""
        return BlobRef(self.filename, self.sha256, self.size_bytes)


@dataclass(frozen=True)
class WheelSet:
    """All wheels of one version of a package for one Python and architecture; its own wheel first.

    `python` is like `3.11`. Wheels that other package components of the catalog supply are not
    included.
    """

    version: str
    python: str
    arch: str
    wheels: tuple[WheelFile, ...]


@dataclass(frozen=True)
class Component:
    """One unit of the catalog.

    `sha256` is the digest of the component.toml or, if it extends other components, of the list of
    its own digest and theirs. `parents` are the ids of the components that it extends, the nearest
    first. `folders` are its own folder and theirs. `body` is the validated table named after the
    kind. `files` are the digests of a program's files, computed when the component was loaded.
    `wheels` is a package's wheel lockfile; `recipe` says how to build it if it has no wheel.
    `scheme` is its version scheme.
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
    recipe: BuildRecipe | None = None
    scheme: str = PYTHON
    parents: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()

    def path(self, name: str) -> Path:
        """Return the path of file `name`, in the component's own folder or in that of a parent."""
        for folder in self.folders:
            if (folder / name).exists():
                return folder / name
        return self.folder / name

    @property
    def id(self) -> str:
        """The id, as `kind/name`."""
        return f"{self.kind}/{self.name}"

    def knows(self, word: str) -> bool:
        """Return whether `word` is one of its variations; `threads.#` covers `threads.4`."""
        return self.variation(word) is not None

    def variation(self, word: str) -> Variation | None:
        """Return the variation for `word`, or None; the value in `threads.4` is not validated."""
        found = self.variations.get(word)
        if found is None and "." in word:
            found = self.variations.get(word.rpartition(".")[0] + ".#")
        return None if found is not None and found.name == word and found.open else found

    def groups(self) -> dict[str, list[str]]:
        """Return the variation names by group, in the order of the file."""
        groups: dict[str, list[str]] = {}
        for variation in self.variations.values():
            if variation.group:
                groups.setdefault(variation.group, []).append(variation.name)
        return groups

    def versions(self) -> tuple[str, ...]:
        """Return all available versions, with the preferred one first."""
        others = (*self.body.get("newer", ()), *self.body.get("older", ()))
        return (self.version, *map(str, others))
