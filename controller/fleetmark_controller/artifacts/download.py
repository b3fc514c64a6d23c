"""Fetch a file from a location, within the declared sizes. The caller verifies the digest."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from ssl import SSLError
from typing import IO

from fleetmark_catalog.load.model import Location
from fleetmark_controller.artifacts import from_deb, from_wheel, recipes
from fleetmark_core.errors import ErrorKind, FleetmarkError

CONNECT_LIMIT_S = 30
TIME_LIMIT_S = 120
SLOWEST_BYTES_PER_S = 50_000
_CHUNK = 1 << 18


def fetch_location(location: Location, folder: Path, size_bytes: int) -> Path:
    """Fetch the file of `location` into `folder`, decompress it, and return its path.

    The transfer is limited by the location's size, the decompressed file by `size_bytes`.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: not reachable, not found, or larger than declared.
        OSError: `folder` cannot be written.
    """
    limit = location.size_bytes
    if location.url:
        raw = _download(location.url, folder / "raw", limit)
    elif location.wheel:
        wheel = (location.wheel, location.wheel_sha256)
        raw = from_wheel.fetch_member(*wheel, location.path, folder, limit)
    elif location.recipe:
        raw = recipes.make(location.recipe, location.options, folder, limit)
    else:
        raw = from_deb.fetch_member(location.deb, location.path, folder, limit)
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
                raise _unavailable_error("was redirected to an address without https")
            _copy(answer, target, limit_bytes, TIME_LIMIT_S + limit_bytes / SLOWEST_BYTES_PER_S)
    except (urllib.error.URLError, TimeoutError, ConnectionError, HTTPException, SSLError) as error:
        raise _unavailable_error(
            str(getattr(error, "reason", error)) or type(error).__name__
        ) from error
    return target


def _copy(source: IO[bytes], target: Path, limit_bytes: int, limit_s: float) -> None:
    left = limit_bytes
    end = time.monotonic() + limit_s
    with target.open("wb") as file:
        while chunk := source.read(_CHUNK):
            left -= len(chunk)
            if left < 0:
                raise _unavailable_error(f"is larger than the declared {limit_bytes} bytes")
            if time.monotonic() > end:
                raise _unavailable_error(f"did not end within {limit_s:.0f} s")
            file.write(chunk)


def unpack_gzip(source: Path, target: Path, limit_bytes: int) -> None:
    """Decompress one gzip stream of at most `limit_bytes`.

    Raises:
        FleetmarkError: ARTIFACT_UNAVAILABLE: not gzip, truncated, or larger than declared.
    """
    written = 0
    with source.open("rb") as packed, target.open("wb") as file:
        try:
            for chunk in _inflate(packed):
                written += len(chunk)
                if written > limit_bytes:
                    raise _unavailable_error(
                        f"unpacks to more than the declared {limit_bytes} bytes"
                    )
                file.write(chunk)
        except zlib.error as error:
            raise _unavailable_error(f"is not a gzip file: {error}") from error


def _inflate(packed: IO[bytes]) -> Iterator[bytes]:
    engine = zlib.decompressobj(wbits=31)
    while not engine.eof:
        data = engine.unconsumed_tail or packed.read(_CHUNK)
        if not data:
            raise _unavailable_error("the gzip file is truncated")
        yield engine.decompress(data, _CHUNK)


def _unavailable_error(what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, what)
