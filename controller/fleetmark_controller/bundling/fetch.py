"""Fetches one file from one location, within declared sizes. The caller verifies the digest."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fleetmark_catalog.core.errors import CatalogError, Fault
from fleetmark_catalog.load.model import Location

TIME_LIMIT_S = 600
CONNECT_LIMIT_S = 30
_CHUNK = 1 << 18
_MAX_DEB_ENTRIES = 100_000


def fetch_location(location: Location, folder: Path, size_bytes: int) -> Path:
    """The file of `location`, decompressed, somewhere in `folder`.

    The transfer is bounded by the location's size, the decompressed file by `size_bytes`.

    Raises:
        CatalogError: fault UNAVAILABLE: not reachable, not there, larger than declared.
        OSError: `folder` cannot be written.
    """
    if location.url:
        raw = _download(location.url, folder / "raw", location.size_bytes)
    else:
        raw = _from_deb(location, folder)
    if not location.compression:
        return raw
    target = folder / "unpacked"
    unpack_gzip(raw, target, size_bytes)
    return target


def _download(url: str, target: Path, limit_bytes: int) -> Path:
    request = urllib.request.Request(url, headers={"User-Agent": "fleetmark"})  # noqa: S310 - https only
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_LIMIT_S) as answer:  # noqa: S310
            if not answer.geturl().startswith("https://"):
                raise _unavailable("was redirected to an address that is not https")
            _copy(answer, target, limit_bytes)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise _unavailable(str(getattr(error, "reason", error)) or type(error).__name__) from error
    return target


def _copy(source: IO[bytes], target: Path, limit_bytes: int) -> None:
    left = limit_bytes
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise _unavailable(f"is larger than the declared {limit_bytes} bytes")
            file.write(chunk)


def unpack_gzip(source: Path, target: Path, limit_bytes: int) -> None:
    """Unpack one gzip stream, at most `limit_bytes` of it.

    Raises:
        CatalogError: fault UNAVAILABLE: no gzip, cut short, larger than declared.
    """
    written = 0
    with source.open("rb") as packed, target.open("wb") as file:
        try:
            for chunk in _inflate(packed):
                written += len(chunk)
                if written > limit_bytes:
                    raise _unavailable(f"unpacks to more than the declared {limit_bytes} bytes")
                file.write(chunk)
        except zlib.error as error:
            raise _unavailable(f"is no gzip file: {error}") from error


def _inflate(packed: IO[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(wbits=31)
    while not engine.eof:
        data = engine.unconsumed_tail or packed.read(_CHUNK)
        if not data:
            raise _unavailable("the gzip file is cut short")
        yield engine.decompress(data, _CHUNK)


def _from_deb(location: Location, folder: Path) -> Path:
    """One file of a Debian package, fetched and verified by the machine's own apt."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise _unavailable("this machine has no apt")
    _run(["apt-get", "--quiet", "download", location.deb], folder)
    packages = sorted(folder.glob("*.deb"))
    if len(packages) != 1:
        raise _unavailable(f"apt gave {len(packages)} packages, not 1")
    if packages[0].stat().st_size > location.size_bytes:
        raise _unavailable(f"the package is larger than the declared {location.size_bytes} bytes")
    archive = folder / "content.tar"
    with archive.open("wb") as file:
        _run(["dpkg-deb", "--fsys-tarfile", str(packages[0])], folder, stdout=file)
    target = folder / "member"
    with tarfile.open(archive) as tar:
        for number, member in enumerate(tar):
            if number > _MAX_DEB_ENTRIES:
                break
            if member.isreg() and member.name.removeprefix("./") == location.path:
                content = tar.extractfile(member)
                assert content is not None
                _copy(content, target, location.size_bytes)
                return target
    raise _unavailable(f"the package holds no file {location.path}")


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
        raise _unavailable(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise _unavailable(f"{command[0]} failed: {said[0]}")


def _unavailable(what: str) -> CatalogError:
    return CatalogError(Fault.UNAVAILABLE, what)
