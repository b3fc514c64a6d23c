"""Lockfiles: exact versions, variations and artifacts of one benchmark on one platform."""

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
    """A reference to content by digest. `name` is a plain file name, never a path."""

    name: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class LockedComponent:
    """A component as it was chosen; `sha256` is the digest of its component.toml."""

    kind: str
    name: str
    version: str
    sha256: str
    variations: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProvidedPython:
    """A Python that is shipped with the job because the device's own interpreters do not fit.

    `archive` contains regular files only. `python` is the relative path of the program in it.
    `abis` and `platforms` are the tags of the wheels that it accepts on the device.
    """

    archive: BlobRef
    python: str
    version: str
    abis: tuple[str, ...]
    platforms: tuple[str, ...]
    unpacked_bytes: int


@dataclass(frozen=True)
class PackageArchive:
    """An archive that is unpacked unchanged; a job finds its folder as `packages[name]`.

    `archive` contains regular files only. `bin`, `lib` and `python` are folders in it (relative
    paths, or `.`) that are added to the job's PATH, LD_LIBRARY_PATH and sys.path.
    """

    name: str
    archive: BlobRef
    unpacked_bytes: int
    bin: tuple[str, ...] = ()
    lib: tuple[str, ...] = ()
    python: tuple[str, ...] = ()

    def folders(self) -> tuple[str, ...]:
        """Return all folders that a job sees, each once."""
        return tuple(dict.fromkeys((*self.bin, *self.lib, *self.python)))


@dataclass(frozen=True)
class Environment:
    """The Python that a job runs with, the wheels to install, and the archives to unpack.

    `provided` is None when the job uses one of the device's own interpreters.
    """

    python_version: str
    wheels: tuple[BlobRef, ...]
    system_site: bool = False
    provided: ProvidedPython | None = None
    archives: tuple[PackageArchive, ...] = ()

    def key(self, platform: str) -> str:
        """Return the name of the environment's folder; equal content gives an equal key.

        The key depends on Python, platform, wheel digests and the system-site flag, not on the
        whole lockfile, so that variations of one benchmark share an environment. Archives have
        their own folders.
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
    """A file that the program declares to write into its output folder."""

    name: str
    role: str
    required: bool = True


@dataclass(frozen=True)
class Program:
    """The program to execute. The agent fills in `{python}` and `{program}` in the command.

    `devices` are patterns of the device nodes below /dev that the job may access. `network` is
    whether the job needs the network.
    """

    command: tuple[str, ...]
    files: tuple[BlobRef, ...]
    outputs: tuple[DeclaredOutput, ...]
    environment: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()
    network: bool = False


@dataclass(frozen=True)
class Lockfile:
    """A lockfile: everything that determines what a job runs, except its parameters.

    `inputs` maps an input's name (model, dataset) to its file. `job` contains what the program must
    know about the inputs (formats, tensors, labels), as the components declare it.
    """

    format: int
    benchmark: str
    components: tuple[LockedComponent, ...]
    program: Program
    inputs: dict[str, BlobRef]
    environment: Environment
    job: dict[str, Any]

    def blobs(self) -> Iterator[BlobRef]:
        """Yield every blob that a device needs besides the lockfile."""
        yield from self.program.files
        yield from (self.inputs[name] for name in sorted(self.inputs))
        yield from self.environment.wheels
        if self.environment.provided is not None:
            yield self.environment.provided.archive
        for package in self.environment.archives:
            yield package.archive

    def size_bytes(self) -> int:
        """Return the total size in bytes of all distinct blobs."""
        return sum({blob.sha256: blob.size_bytes for blob in self.blobs()}.values())

    def component(self, kind: str) -> LockedComponent | None:
        """Return the first component of a kind, or None."""
        return next((part for part in self.components if part.kind == kind), None)

    def plain(self) -> dict[str, Any]:
        """Return the lockfile as plain JSON values.

        Keys for archives, devices and network are omitted when they are empty. Then the document
        equals the one from before these keys existed, and agents of that time can read it.
        """
        values: dict[str, Any] = to_plain(self)
        for name in ("devices", "network"):
            if not values["program"][name]:
                del values["program"][name]
        if not self.environment.archives:
            del values["environment"]["archives"]
        return values

    def canonical(self) -> bytes:
        """Return the canonical bytes, whose SHA-256 identifies the lockfile."""
        return canonical_json(self.plain())


def parse_lockfile(data: bytes) -> Lockfile:
    """Parse and validate a lockfile.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    lock = parse_document(Lockfile, data, "lockfile")
    if lock.format != LOCK_FORMAT:
        what = f"format {lock.format} is not supported: this version reads {LOCK_FORMAT}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, "lockfile")
    for blob in lock.blobs():
        check_blob(blob, "lockfile")
    for output in lock.program.outputs:
        check_file_name(output.name, "lockfile")
    if lock.environment.provided is not None:
        for part in lock.environment.provided.python.split("/"):
            check_file_name(part, "lockfile")
    _check_archives(lock.environment.archives)
    for pattern in lock.program.devices:
        if not is_device_pattern(pattern):
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT,
                f"device pattern {pattern[:80]!r} is not below /dev",
                "lockfile",
            )
    return lock


def is_device_pattern(pattern: str) -> bool:
    """Return whether a pattern matches only nodes below /dev."""
    parts = pattern.split("/")
    return (
        parts[:2] == ["", "dev"] and len(parts) > 2 and not {"", ".", "..", "**"} & set(parts[2:])
    )


def _check_archives(archives: tuple[PackageArchive, ...]) -> None:
    for package in archives:
        check_file_name(package.name, "lockfile")
        for folder in package.folders():
            for part in folder.split("/") if folder != "." else ():
                check_file_name(part, "lockfile")
            # PATH and LD_LIBRARY_PATH treat these characters as separators.
            if ":" in folder or ";" in folder:
                raise FleetmarkError(
                    ErrorKind.BAD_DOCUMENT,
                    f"{folder[:80]!r} is not a valid folder: it contains ':' or ';'",
                    "lockfile",
                )
    names = [package.name for package in archives]
    if len(names) != len(set(names)):
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, "two archives have the same name", "lockfile")


def check_blob(blob: BlobRef, where: str) -> None:
    """Reject a reference with an unsafe name, an invalid digest or a negative size.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    check_file_name(blob.name, where)
    if not is_sha256(blob.sha256) or blob.size_bytes < 0:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, f"blob {blob.name} has an invalid digest or size", where
        )


def check_file_name(name: str, where: str) -> None:
    """Reject a name that is not a plain, printable file name.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    strange = name in {"", ".", ".."} or len(name) > 200 or not name.isprintable()
    if strange or "/" in name or "\\" in name:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT, f"{name[:80]!r} is not a plain file name", where
        )
