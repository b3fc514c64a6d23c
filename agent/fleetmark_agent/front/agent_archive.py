"""Makes the archive of the agent's files for one platform, from the kit of `make agent-kit`.

The same wheels give the same bytes, so that a transfer can be resumed by another front process.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from zipfile import BadZipFile

from installer.exceptions import InstallerError
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from fleetmark_core.capabilities import Interpreter
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.wheel_install import BadWheel, Folder, install_wheel
from fleetmark_core.wheel_tags import wheel_rank

_OWN = "fleetmark"
_LAYOUT = b"1"
"""Changes with the layout of the archive, so that a device gets it again."""
_MAX_UNPACKED = 1 << 30
_MAX_KIT_BYTES = 1 << 30


class ChosenWheel(NamedTuple):
    """A wheel of a kit that fits a platform."""

    name: str
    sha256: str


class AgentKit:
    """An unpacked kit: wheels, and the lockfile with their digests."""

    def __init__(self, file: Path) -> None:
        """Unpack the wheels and the lockfile of a kit.

        Raises:
            FleetmarkError: the file is not a kit.
        """
        self._file = file
        self._folder = tempfile.TemporaryDirectory(prefix="fm-kit-")
        self._wheels = Path(self._folder.name)
        self._digests: dict[str, str] = {}
        lockfile = ""
        try:
            with tarfile.open(file, "r:*") as archive:
                for member in archive:
                    path = PurePosixPath(member.name)
                    stream = archive.extractfile(member) if member.isreg() else None
                    if stream is None or member.size > _MAX_KIT_BYTES:
                        continue
                    if path.parts[1:] == ("locks", "agent.txt"):
                        lockfile = stream.read().decode()
                    elif path.parts[1:-1] == ("wheels",) and path.suffix == ".whl":
                        data = stream.read()
                        (self._wheels / path.name).write_bytes(data)
                        self._digests[path.name] = hashlib.sha256(data).hexdigest()
        except (OSError, tarfile.TarError, EOFError, UnicodeDecodeError) as error:
            self.close()
            raise self._kit_error(f"cannot be read: {error}") from error
        self._lock = _entries(lockfile)
        if not self._lock or not self._digests:
            self.close()
            raise self._kit_error("is not an agent kit")

    def close(self) -> None:
        """Remove the unpacked files."""
        self._folder.cleanup()

    def choose(self, interpreter: Interpreter) -> list[ChosenWheel]:
        """Return the wheels that the agent needs on a platform; each matches the lockfile.

        Raises:
            FleetmarkError: one is missing.
        """
        by_name: dict[str, list[tuple[int, str]]] = {}
        for name in self._digests:
            rank = wheel_rank(name, interpreter)
            if rank is not None:
                by_name.setdefault(_distribution(name), []).append((rank, name))
        chosen = []
        for distribution, hashes in {**self._needed(interpreter.version), _OWN: None}.items():
            fitting = sorted(by_name.get(distribution, ()))
            if hashes is not None:
                fitting = [found for found in fitting if self._digests[found[1]] in hashes]
            if not fitting:
                raise self._kit_error(
                    f"has no wheel of {distribution} for Python {interpreter.version} on"
                    f" {interpreter.platforms[-1]}",
                )
            name = fitting[0][1]
            chosen.append(ChosenWheel(name, self._digests[name]))
        return sorted(chosen)

    def _needed(self, python: str) -> dict[str, frozenset[str]]:
        """Return the distributions that a Python on Linux needs, with their digests."""
        environment = {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "implementation_name": "cpython",
            "platform_python_implementation": "CPython",
            "sys_platform": "linux",
            "platform_system": "Linux",
            "os_name": "posix",
        }
        found = {}
        for requirement, hashes in self._lock:
            if requirement.marker is None or requirement.marker.evaluate(environment):
                found[str(canonicalize_name(requirement.name))] = hashes
        return found

    def write_archive(self, chosen: list[ChosenWheel], python: str, target: Path) -> None:
        """Write the archive of the wheels, unpacked, to `target`.

        Raises:
            FleetmarkError: a wheel is damaged.
            OSError: the file cannot be written.
        """
        with tempfile.TemporaryDirectory(prefix="fm-archive-") as scratch:
            top = Path(scratch)
            packages = top / "lib" / f"python{python}" / "site-packages"
            packages.mkdir(parents=True)
            folder = Folder(packages, _MAX_UNPACKED)
            for wheel in chosen:
                try:
                    install_wheel(self._wheels / wheel.name, wheel.name, folder)
                except (BadWheel, InstallerError, BadZipFile, ValueError) as error:
                    raise self._kit_error(f"has a damaged wheel {wheel.name}: {error}") from error
            _write_tar(top, target)

    def _kit_error(self, what: str) -> FleetmarkError:
        return FleetmarkError(
            ErrorKind.BAD_ARCHIVE, f"the kit {what}", str(self._file), "Make one: make agent-kit"
        )


def version_of(chosen: list[ChosenWheel], python: str) -> str:
    """Return the name of the folder for these wheels: Fleetmark's version and a digest of all."""
    digest = hashlib.sha256(_LAYOUT + python.encode())
    for wheel in chosen:
        digest.update(f"\n{wheel.name} {wheel.sha256}".encode())
    own = next(
        str(parse_wheel_filename(w.name)[1]) for w in chosen if _distribution(w.name) == _OWN
    )
    return f"{own}-{digest.hexdigest()[:16]}"


def _entries(lockfile: str) -> list[tuple[Requirement, frozenset[str]]]:
    found = []
    for entry in re.findall(r"^(?:.*\\\n)*.+$", lockfile, re.MULTILINE):
        line, *hashes = re.split(r"\s+(?=--hash=)", entry.replace("\\\n", " "))
        if line.strip().startswith("#"):
            continue
        try:
            requirement = Requirement(line.strip())
        except InvalidRequirement:
            continue
        digests = (text.strip().removeprefix("--hash=sha256:") for text in hashes)
        found.append((requirement, frozenset(digests)))
    return found


def _distribution(wheel: str) -> str:
    try:
        return str(parse_wheel_filename(wheel)[0])
    except InvalidWheelFilename:
        return ""


def _write_tar(top: Path, target: Path) -> None:
    with (
        target.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for path in sorted(top.rglob("*")):
            name = str(path.relative_to(top))
            archive.add(path, name, recursive=False, filter=_plain)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode = 0o755 if member.isdir() else 0o644
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def read_from(path: Path, offset: int) -> Iterator[bytes]:
    """Yield the bytes of a file from an offset."""
    with path.open("rb") as file:
        file.seek(offset)
        while chunk := file.read(1 << 16):
            yield chunk


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    for chunk in read_from(path, 0):
        digest.update(chunk)
    return digest.hexdigest()
