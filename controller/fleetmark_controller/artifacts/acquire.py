"""Obtain the blobs of a lockfile for the controller, each verified before it is visible.

The sources, in this order: the mirror folder (files named by SHA-256), the component's own folder,
a package index (through pip), and the locations that the component names. Wheels from build recipes
are built earlier; see `fleetmark_controller.wheelbuild`.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from fleetmark_catalog.load.model import Location
from fleetmark_catalog.resolve.result import BuiltWheel, Fetch, LocalFile, Source, WheelSource
from fleetmark_controller.artifacts.download import fetch_location
from fleetmark_controller.artifacts.local_files import describe, is_worth_hashing
from fleetmark_controller.artifacts.model_formats.model_check import check_model
from fleetmark_controller.artifacts.wheels import download_wheels
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError

ProgressCallback = Callable[[str], None]
_DIGESTS: dict[Path, tuple[tuple[int, ...], str]] = {}
_MOST_DIGESTS = 10_000
_SETTLED_NS = 2_000_000_000


def obtain(
    sources: Mapping[str, Source],
    blobs: BlobFolder,
    mirror: Path | None,
    report_progress: ProgressCallback,
) -> None:
    """Ensure that every blob of `sources` (by SHA-256) is in `blobs`.

    Blobs that are stored already cost nothing. This may take minutes, so run it outside an event
    loop.

    Args:
        sources: Where each blob comes from.
        blobs: Blob folder to fill.
        mirror: Folder of files named by SHA-256, which is searched first.
        report_progress: Called with one line for each step that takes time.

    Raises:
        FleetmarkError: DIGEST_MISMATCH: a file differs from what its component says.
            ARTIFACT_UNAVAILABLE: no source has a blob; the text lists what was tried. BAD_DOCUMENT:
            a model file is not a model, is a pickle, or keeps its weights in other files. Blobs
            that were obtained before are kept.
    """
    # Files in a component's folder are checked even if their blobs are stored already: a changed
    # model must be detected when a campaign is created, not only when the cache happens to be
    # empty.
    for sha256, source in sorted(sources.items()):
        if isinstance(source, LocalFile):
            _take_local(sha256, source, blobs)
    missing = {sha256: source for sha256, source in sources.items() if not blobs.has(sha256)}
    for sha256, source in sorted(missing.items()):
        _take_mirrored(sha256, source, blobs, mirror, report_progress)
    wheels = [
        source
        for sha256, source in sorted(missing.items())
        if isinstance(source, WheelSource) and not blobs.has(sha256)
    ]
    if wheels:
        download_wheels(wheels, blobs, report_progress)
    for sha256, source in sorted(missing.items()):
        if isinstance(source, BuiltWheel) and not blobs.has(sha256):
            raise FleetmarkError(
                ErrorKind.ARTIFACT_UNAVAILABLE,
                f"{source.name} was built here, but its file no longer exists",
                "",
                "Repeat the command to build it again",
            )
        if isinstance(source, Fetch) and not blobs.has(sha256):
            _fetch(sha256, source, blobs, report_progress)


def _take_local(sha256: str, source: LocalFile, blobs: BlobFolder) -> None:
    try:
        stamp = source.path.stat()
        found_size = stamp.st_size
        hashed = is_worth_hashing(found_size, source.size_bytes)
        found = _digest(source.path, stamp) if hashed else ""
    except OSError as error:
        raise FleetmarkError(
            ErrorKind.ARTIFACT_UNAVAILABLE,
            f"cannot be read: {error.strerror}",
            str(source.path),
            "Restore the component's files",
        ) from error
    if (found, found_size) != (sha256, source.size_bytes):
        raise FleetmarkError(
            ErrorKind.DIGEST_MISMATCH,
            f"{describe(found, found_size)}, but its component declares {sha256} "
            f"({source.size_bytes} bytes)",
            str(source.path),
            "Restore the file, or write the new digest and size into component.toml",
        )
    check_model(source.path, source.name)
    blobs.put_file(source.path, sha256, source.size_bytes)


def _digest(path: Path, stat: os.stat_result) -> str:
    """Return a file's digest; read the file only if it may have changed since it was last read.

    The digest of a file is cached only once the file is older than `_SETTLED_NS`, because it could
    be written again without a visible change of its times.
    """
    stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    known, digest = _DIGESTS.get(path, (None, ""))
    if known != stamp:
        digest = sha256_file(path)
        _DIGESTS.pop(path, None)
        if time.time_ns() - max(stamp[2:]) > _SETTLED_NS and len(_DIGESTS) < _MOST_DIGESTS:
            _DIGESTS[path] = (stamp, digest)
    return digest


def _take_mirrored(
    sha256: str,
    source: Source,
    blobs: BlobFolder,
    mirror: Path | None,
    report_progress: ProgressCallback,
) -> None:
    if mirror is None or not (mirror / sha256).is_file():
        return
    try:
        if isinstance(source, Fetch):
            # The files that an import provides include those with the weights of a model.
            is_imported = any(location.provided for location in source.locations)
            check_model(mirror / sha256, source.name, with_external=is_imported)
        blobs.put_file(mirror / sha256, sha256, source.size_bytes)
    except FleetmarkError as error:
        if error.kind is ErrorKind.BAD_DOCUMENT and sha256_file(mirror / sha256) == sha256:
            raise
        # A damaged copy in the mirror must not block the other sources.
        report_progress(f"skipping the copy in the mirror folder: {error}")


def place_of(location: Location) -> str:
    """Return a description of a location, for operators."""
    return (
        location.url
        or (location.wheel and f"wheel {location.wheel}")
        or (location.recipe and f"recipe {location.recipe}")
        or f"apt package {location.deb}"
    )


def _fetch(
    sha256: str, source: Fetch, blobs: BlobFolder, report_progress: ProgressCallback
) -> None:
    tried = []
    for location in source.locations:
        if location.provided:
            tried.append(f"it must be provided: {location.provided}")
            continue
        with tempfile.TemporaryDirectory(prefix="fleetmark-fetch-") as scratch:
            place = place_of(location)
            report_progress(f"fetching {source.name} from {place}")
            try:
                file = fetch_location(location, Path(scratch), source.size_bytes)
                _check_digest(file, sha256, source.size_bytes)
                check_model(file, source.name)
                blobs.put_file(file, sha256, source.size_bytes)
            except FleetmarkError as error:
                if error.kind is ErrorKind.BAD_DOCUMENT:
                    raise
                tried.append(f"{place}: {error.what}")
            except OSError as error:
                tried.append(f"{place}: {error.strerror or error}")
            else:
                return
    raise FleetmarkError(
        ErrorKind.ARTIFACT_UNAVAILABLE,
        f"{source.name} could not be fetched. Tried " + "; ".join(tried),
        "",
        f"Put the file into the mirror folder under the name {sha256}, or run "
        "`controller catalog import-files NAME DIR` with a folder that holds it",
    )


def _check_digest(file: Path, sha256: str, size_bytes: int) -> None:
    found, found_size = sha256_file(file), file.stat().st_size
    if (found, found_size) != (sha256, size_bytes):
        raise FleetmarkError(
            ErrorKind.DIGEST_MISMATCH,
            f"sha256 is {found} ({found_size} bytes), expected {sha256} ({size_bytes} bytes)",
        )
