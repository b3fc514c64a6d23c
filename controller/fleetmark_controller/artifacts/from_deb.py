"""Files inside Debian packages, which the machine's own apt fetches and verifies."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO

from fleetmark_core.errors import ErrorKind, FleetmarkError

TIME_LIMIT_S = 600
_MAX_ENTRIES = 100_000
_MAX_PACKAGE_BYTES = 1 << 30


def fetch_member(package: str, member: str, folder: Path, limit_bytes: int) -> Path:
    """Extract the file `member` of a package into `folder`, and return its path.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: no apt, no such package or file, or too large.
        OSError: `folder` cannot be written.
    """
    target = folder / "member"
    for _, data in matching(package, [member], folder, limit_bytes):
        target.write_bytes(data)
        return target
    raise _unavailable_error(f"the package holds no file {member}")


def matching(
    package: str, patterns: list[str], folder: Path, limit_bytes: int
) -> Iterator[tuple[str, bytes]]:
    """Yield the path and content of each regular file of the package that matches a pattern.

    The files come in the order of the package and may have at most `limit_bytes` together.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE.
        OSError: `folder` cannot be written.
    """
    archive = _content_of(package, folder, limit_bytes)
    left = limit_bytes
    with tarfile.open(archive) as tar:
        for number, entry in enumerate(tar):
            if number > _MAX_ENTRIES:
                raise _unavailable_error(f"the package holds more than {_MAX_ENTRIES} files")
            name = entry.name.removeprefix("./")
            if not entry.isreg() or not any(fnmatchcase(name, one) for one in patterns):
                continue
            left -= entry.size
            if left < 0:
                raise _unavailable_error(f"is larger than the declared {limit_bytes} bytes")
            content = tar.extractfile(entry)
            if content is not None:
                yield name, content.read()


def _content_of(package: str, folder: Path, limit_bytes: int) -> Path:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise _unavailable_error("apt is not installed on this machine")
    scratch = folder / f"deb-{package}"
    scratch.mkdir(exist_ok=True)
    _run(["apt-get", "--quiet", "download", package], scratch)
    found = sorted(scratch.glob("*.deb"))
    if len(found) != 1:
        raise _unavailable_error(f"apt fetched {len(found)} packages instead of 1")
    if found[0].stat().st_size > min(limit_bytes, _MAX_PACKAGE_BYTES):
        raise _unavailable_error(f"the package is larger than the declared {limit_bytes} bytes")
    archive = scratch / "content.tar"
    with archive.open("wb") as file:
        _run(["dpkg-deb", "--fsys-tarfile", str(found[0])], scratch, stdout=file)
    return archive


def _run(command: list[str], folder: Path, stdout: IO[bytes] | int = subprocess.PIPE) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except (subprocess.TimeoutExpired, OSError) as error:
        raise _unavailable_error(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        output = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [
            "no reason given"
        ]
        raise _unavailable_error(f"{command[0]} failed: {output[0]}")


def _unavailable_error(what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, what)
