"""The component model: what a validated `component.toml` says, as immutable values."""

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
    """What would meet a requirement: a component by name, or whichever has all of `tags`.

    `version` is a range of the component's scheme, or empty.
    """

    kind: str
    name: str
    version: str = ""
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        """`package/numpy<2`, `dataset with tags imagenet, size-160`."""
        if not self.name:
            return f"{self.kind} with tags {', '.join(self.tags)}"
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
    """A named change. At most one variation of a `group` is chosen; ungrouped ones add up.

    A name that ends with `.#` stands for all `name.VALUE` whose value `value` (a definition like a
    program's parameter) allows; then `#` in `set` becomes the value. `excludes` are variations that
    cannot be chosen together with it, `when` is a selector that the device must match. `tags` are
    passed on to the other components of the benchmark.
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
        """Whether the name stands for many words: `threads.#`."""
        return self.name.endswith(".#")


@dataclass(frozen=True)
class Location:
    """A place besides the component's folder that holds an artefact's bytes.

    One of: `url`; `deb` (a package of the machine's own apt sources) with `path` inside it; `wheel`
    (file name of a wheel on the machine's own package index) with its sha256 and `path` inside it;
    `recipe` (a name in artifacts/recipes) that makes the file from others, as `options` say;
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

    Chosen when all words of `when` are among the variations and all of `tags` are passed on by
    variations. `role` is the input's name in a job.
    """

    name: str
    role: str
    sha256: str
    size_bytes: int
    when: tuple[str, ...] = ()
    file: str = ""
    locations: tuple[Location, ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def blob(self) -> BlobRef:
        """The artefact as a lock names it."""
        return BlobRef(self.name, self.sha256, self.size_bytes)


@dataclass(frozen=True)
class Sdist:
    """The exact sources of one version of a distribution, to be had from a package index."""

    file: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Tool:
    """A pure Python wheel that a build needs, to be had from a package index: `name==version`."""

    requirement: str
    sha256: str


@dataclass(frozen=True)
class BuildRecipe:
    """How a package that has only sources gets a wheel.

    `where` it is built (`controller`), for which `arches` and `pythons` (3.11), against which
    `glibc` (`2.28`: whatever has that or a newer one can run it), with which `tools`, from which
    `sdists` by version, and about how many `minutes` that takes.
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
    """One wheel that a recipe makes: of `distribution` `version`, for a Python and architecture."""

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
        """What the wheel is called, with the tags that say what it runs on."""
        name = canonicalize_name(self.distribution).replace("-", "_")
        tag = f"cp{self.python.replace('.', '')}"
        platform = f"manylinux_{self.glibc.replace('.', '_')}_{self.arch}"
        return f"{name}-{self.version}-{tag}-{tag}-{platform}.whl"

    @property
    def key(self) -> str:
        """Digest of all that the catalog says of it: equal keys are the same build."""
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
        """`mlcommons-loadgen 6.0.17 for Python 3.11 on aarch64`."""
        return f"{self.distribution} {self.version} for Python {self.python} on {self.arch}"


@dataclass(frozen=True)
class WheelFile:
    """One exact wheel of a distribution.

    With `build` it does not exist yet: then `sha256` is the build's key and the size unknown.
    `made` says that the controller built it, and no index has it.
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

    `sha256` is that of the component.toml, or, where it extends others, that of the list of its own
    digest and theirs. `parents` are the ids of what it extends, the nearest first; `folders` are
    its own folder and theirs. `body` is the kind's own table, validated; `files` are the digests of
    files that a program executes, taken when the component was loaded; `wheels` is a package's
    wheel lock, `recipe` says how it is built where it has no wheel; `scheme` is that of its
    versions.
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
        """Where the file `name` of the component lies: with itself, else with what it extends."""
        for folder in self.folders:
            if (folder / name).exists():
                return folder / name
        return self.folder / name

    @property
    def id(self) -> str:
        """`kind/name`."""
        return f"{self.kind}/{self.name}"

    def knows(self, word: str) -> bool:
        """Whether `word` is one of its variations, `threads.4` by `threads.#` too."""
        return self.variation(word) is not None

    def variation(self, word: str) -> Variation | None:
        """The variation that `word` means; the value of `threads.4` is not checked here."""
        found = self.variations.get(word)
        if found is None and "." in word:
            found = self.variations.get(word.rpartition(".")[0] + ".#")
        return None if found is not None and found.name == word and found.open else found

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
