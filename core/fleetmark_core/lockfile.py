"""A lock: exact versions, variations and artefacts of one benchmark on one platform."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from fleetmark_core.digest import canonical_json, is_sha256, sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.serde import parse_document, to_plain

LOCK_FORMAT = 1


@dataclass(frozen=True)
class BlobRef:
    """Content by digest. `name` is a plain file name, never a path."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class LockedComponent:
    """A component as chosen: the digest is that of its component.toml."""

    kind: str
    name: str
    version: str
    sha256: str
    variations: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProvidedPython:
    """A Python that comes along, where the board's own do not fit.

    `archive` holds regular files only; `python` is the program in it, a relative path. `abis` and
    `platforms` are the tags of the wheels that fit it on the board.
    """

    archive: BlobRef
    python: str
    version: str
    abis: tuple[str, ...]
    platforms: tuple[str, ...]
    unpacked_bytes: int


@dataclass(frozen=True)
class PackageArchive:
    """Files that come along as they are: a job finds their folder as `packages[name]`.

    `archive` holds regular files only. `bin`, `lib` and `python` are folders in it, relative paths
    or `.`, which a job has on PATH, on LD_LIBRARY_PATH and on sys.path.
    """

    name: str
    archive: BlobRef
    unpacked_bytes: int
    bin: tuple[str, ...] = ()
    lib: tuple[str, ...] = ()
    python: tuple[str, ...] = ()

    def folders(self) -> tuple[str, ...]:
        """All that a job sees, each once."""
        return tuple(dict.fromkeys((*self.bin, *self.lib, *self.python)))


@dataclass(frozen=True)
class Environment:
    """The Python that a job runs with, the wheels in its folder, and archives beside it.

    `provided` is that Python, unless it is one of the board's own.
    """

    python_version: str
    wheels: tuple[BlobRef, ...]
    system_site: bool = False
    provided: ProvidedPython | None = None
    archives: tuple[PackageArchive, ...] = ()

    def key(self, platform: str) -> str:
        """Name of the folder that holds it: equal content, equal key.

        Python, platform, wheel digests and the system-site flag decide, not the whole lock, so
        that variations of one benchmark share an environment. Archives lie in folders of their own.
        """
        parts: dict[str, object] = {
            "python": self.python_version,
            "platform": platform,
            "system_site": self.system_site,
            "wheels": sorted((wheel.name, wheel.sha256) for wheel in self.wheels),
        }
        if self.provided is not None:
            parts["provided"] = self.provided.archive.sha256
        return sha256_hex(canonical_json(parts))


@dataclass(frozen=True)
class DeclaredOutput:
    """A file that the program promises to write into its output folder."""

    name: str
    role: str
    required: bool = True


@dataclass(frozen=True)
class Program:
    """What to execute. `{python}` and `{program}` in the command are filled in by the agent.

    `devices`: patterns of the nodes below /dev that a job reaches; `network`: whether it needs it.
    """

    command: tuple[str, ...]
    files: tuple[BlobRef, ...]
    outputs: tuple[DeclaredOutput, ...]
    environment: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    network: bool = False


@dataclass(frozen=True)
class Lock:
    """Everything that decides what a job runs, but its parameters.

    `inputs` maps an input's name (model, dataset) to its file; `job` holds what the program must
    know of them (formats, tensors, labels), as the components declare it.
    """

    format: int
    benchmark: str
    components: tuple[LockedComponent, ...]
    program: Program
    inputs: dict[str, BlobRef]
    environment: Environment
    job: dict[str, Any]

    def blobs(self) -> Iterator[BlobRef]:
        """Every blob that a device needs besides the lock itself."""
        yield from self.program.files
        yield from (self.inputs[name] for name in sorted(self.inputs))
        yield from self.environment.wheels
        if self.environment.provided is not None:
            yield self.environment.provided.archive
        for package in self.environment.archives:
            yield package.archive

    def size_bytes(self) -> int:
        """Bytes of all distinct blobs."""
        return sum({blob.sha256: blob.size_bytes for blob in self.blobs()}.values())

    def component(self, kind: str) -> LockedComponent | None:
        """The first component of a kind."""
        return next((part for part in self.components if part.kind == kind), None)

    def plain(self) -> dict[str, Any]:
        """The values of its document.

        A lock without archives, devices or network does not speak of them: it is the one that it
        was before there were any, and agents of that time read it.
        """
        values: dict[str, Any] = to_plain(self)
        for name in ("devices", "network"):
            if not values["program"][name]:
                del values["program"][name]
        if not self.environment.archives:
            del values["environment"]["archives"]
        return values

    def canonical(self) -> bytes:
        """The bytes whose sha256 names the lock."""
        return canonical_json(self.plain())


def parse_lock(data: bytes) -> Lock:
    """Read and check a lock.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    lock = parse_document(Lock, data, "lock")
    if lock.format != LOCK_FORMAT:
        what = f"format {lock.format}, this version reads {LOCK_FORMAT}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, "lock")
    for blob in lock.blobs():
        check_blob(blob, "lock")
    for output in lock.program.outputs:
        check_file_name(output.name, "lock")
    if lock.environment.provided is not None:
        for part in lock.environment.provided.python.split("/"):
            check_file_name(part, "lock")
    _check_archives(lock.environment.archives)
    for pattern in lock.program.devices:
        if not is_device_pattern(pattern):
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT, f"not below /dev: {pattern[:80]!r}", "lock"
            )
    return lock


def is_device_pattern(pattern: str) -> bool:
    """Whether it names nodes below /dev, and no way out of it."""
    parts = pattern.split("/")
    return (
        parts[:2] == ["", "dev"] and len(parts) > 2 and not {"", ".", "..", "**"} & set(parts[2:])
    )


def _check_archives(archives: tuple[PackageArchive, ...]) -> None:
    for package in archives:
        check_file_name(package.name, "lock")
        for folder in package.folders():
            for part in folder.split("/") if folder != "." else ():
                check_file_name(part, "lock")
            # PATH and LD_LIBRARY_PATH would take what follows for another folder.
            if ":" in folder or ";" in folder:
                raise FleetmarkError(
                    ErrorKind.BAD_DOCUMENT, f"not a folder: {folder[:80]!r}", "lock"
                )
    names = [package.name for package in archives]
    if len(names) != len(set(names)):
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, "two archives have one name", "lock")


def check_blob(blob: BlobRef, where: str) -> None:
    """Refuse a reference whose name could become a path or whose digest is none."""
    check_file_name(blob.name, where)
    if not is_sha256(blob.sha256) or blob.size_bytes < 0:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, f"{blob.name}: bad digest or size", where)


def check_file_name(name: str, where: str) -> None:
    """Refuse what is not a plain, printable file name."""
    strange = name in {"", ".", ".."} or len(name) > 200 or not name.isprintable()
    if strange or "/" in name or "\\" in name:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, f"not a plain file name: {name[:80]!r}", where)
