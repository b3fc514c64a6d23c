"""Check files of which the publisher states only an MD5, and verify what an admin confirms.

A checked file is a blob of the controller. It stays unsigned: no component names its SHA-256, so no
lockfile and no release contains it, until `verify_confirmation` accepts it for an admin.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from fleetmark_catalog.load import Artifact, Component, Location
from fleetmark_controller.artifacts.acquire import place_of
from fleetmark_controller.artifacts.download import fetch_location
from fleetmark_controller.artifacts.file_confirmations import CheckedFile, files_to_confirm
from fleetmark_controller.artifacts.model_formats.model_check import check_model
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import file_digests
from fleetmark_core.errors import ErrorKind, FleetmarkError

ProgressCallback = Callable[[str], None]
UPLOADED = "files of an operator"
MIRROR = "the mirror folder"
_MAX_RATIO = 20


def check_files(
    component: Component,
    names: Sequence[str],
    known: Sequence[CheckedFile],
    uploaded: Sequence[str],
    blobs: BlobFolder,
    mirror: Path | None,
    report_progress: ProgressCallback,
) -> list[CheckedFile]:
    """Obtain the files of a component of which only an MD5 is known; return what was computed.

    A file comes from the first of these that has it: the blob of an earlier check, blobs that an
    operator uploaded, the mirror folder (under its MD5 as name), the locations of the component.

    Args:
        component: The component.
        names: Names of the files to check; empty: all.
        known: Files that were checked before.
        uploaded: SHA-256 of uploaded blobs. If given, only files that they are get checked.
        blobs: Receives the bytes.
        mirror: Mirror folder, if there is one.
        report_progress: Called with one line for each step that takes time.

    Raises:
        FleetmarkError: NOTHING_FITS: the component has no such file. NOT_FOUND: it has no file of a
            given name. DIGEST_MISMATCH: bytes differ
            from the MD5. ARTIFACT_UNAVAILABLE: no place has a file; the text lists what was tried.
            BAD_DOCUMENT: a file is not the model that its name says.
        OSError: a blob cannot be read or written.
    """
    given = {}
    for sha256 in uploaded:
        if blobs.has(sha256):
            md5, found_sha256, size_bytes = file_digests(blobs.path(sha256))
            given[md5] = (found_sha256, size_bytes)
    wanted = _wanted(component, names, given if uploaded else None)
    earlier = {file.key: file for file in known}
    found = []
    for artifact in wanted:
        file = earlier.get((component.id, artifact.name, artifact.md5))
        if file is not None and _is_intact(file, blobs):
            found.append(file)
            continue
        found.append(_checked(component, artifact, given, blobs, mirror, report_progress))
    return found


def verify_confirmation(
    component: Component, name: str, sha256: str, size_bytes: int, blobs: BlobFolder
) -> Artifact:
    """Return the artifact whose stored bytes an admin may confirm.

    The bytes are read again: they may have changed since they were checked.

    Raises:
        FleetmarkError: NOT_FOUND: the component has no such file. BLOB_MISSING: these bytes were
            never checked here. DIGEST_MISMATCH: the stored bytes are not the confirmed ones, or do
            not have the MD5 that the component declares. BAD_DOCUMENT: they are not the model that
            the name says.
        OSError: the blob cannot be read.
    """
    artifact = next((a for a in files_to_confirm(component) if a.name == name), None)
    if artifact is None:
        raise FleetmarkError(
            ErrorKind.NOT_FOUND, f"{component.id} has no file {name[:120]!r} to confirm"
        )
    if not blobs.has(sha256):
        raise FleetmarkError(
            ErrorKind.BLOB_MISSING,
            f"{name}: the controller has no file with sha256 {sha256[:64]}",
            "",
            f"Run `controller catalog confirm {component.id}` to check the file again",
        )
    found = file_digests(blobs.path(sha256))
    if found != (artifact.md5, sha256, size_bytes):
        raise FleetmarkError(
            ErrorKind.DIGEST_MISMATCH,
            f"{name}: the stored file has md5 {found[0]}, sha256 {found[1]} ({found[2]} bytes), "
            f"expected md5 {artifact.md5}, sha256 {sha256} ({size_bytes} bytes)",
            "",
            f"Run `controller catalog confirm {component.id}` to check the file again",
        )
    check_model(blobs.path(sha256), name)
    return artifact


def _wanted(
    component: Component, names: Sequence[str], given: Collection[str] | None
) -> list[Artifact]:
    """Return the files to check: all, those of the given names, those of the given MD5s."""
    wanted = list(files_to_confirm(component))
    if not wanted:
        raise FleetmarkError(
            ErrorKind.NOTHING_FITS,
            f"{component.id} has no file to confirm: each of its files has a SHA-256",
        )
    known = [artifact.name for artifact in wanted]
    for name in names:
        if name not in known:
            raise FleetmarkError(
                ErrorKind.NOT_FOUND,
                f"{component.id} has no file {name[:120]!r} to confirm",
                "",
                f"Known: {', '.join(known)}",
            )
    if names:
        wanted = [artifact for artifact in wanted if artifact.name in names]
    if given is not None:
        wanted = [artifact for artifact in wanted if artifact.md5 in given]
        if not wanted:
            raise FleetmarkError(
                ErrorKind.DIGEST_MISMATCH,
                f"no uploaded file has the MD5 of a file of {component.id}",
            )
    return wanted


def _is_intact(file: CheckedFile, blobs: BlobFolder) -> bool:
    if not blobs.has(file.sha256):
        return False
    return file_digests(blobs.path(file.sha256)) == (file.md5, file.sha256, file.size_bytes)


def _checked(
    component: Component,
    artifact: Artifact,
    given: dict[str, tuple[str, int]],
    blobs: BlobFolder,
    mirror: Path | None,
    report_progress: ProgressCallback,
) -> CheckedFile:
    if artifact.md5 in given:
        sha256, size_bytes = given[artifact.md5]
        check_model(blobs.path(sha256), artifact.name)
        return CheckedFile(component.id, artifact.name, artifact.md5, sha256, size_bytes, UPLOADED)
    tried = []
    for place, fetch in _places(artifact, mirror):
        with tempfile.TemporaryDirectory(prefix="fleetmark-check-") as scratch:
            report_progress(f"fetching {artifact.name} from {place}")
            try:
                file = fetch(Path(scratch))
                md5, sha256, size_bytes = file_digests(file)
                if md5 != artifact.md5:
                    raise _md5_error(artifact, place, md5, size_bytes)
                check_model(file, artifact.name)
                _store(file, sha256, size_bytes, blobs)
            except FleetmarkError as error:
                if error.kind in (ErrorKind.BAD_DOCUMENT, ErrorKind.DIGEST_MISMATCH):
                    raise
                tried.append(f"{place}: {error.what}")
            except OSError as error:
                tried.append(f"{place}: {error.strerror or error}")
            else:
                return CheckedFile(component.id, artifact.name, md5, sha256, size_bytes, place)
    tried += [f"it must be provided: {one.provided}" for one in artifact.locations if one.provided]
    raise FleetmarkError(
        ErrorKind.ARTIFACT_UNAVAILABLE,
        f"{artifact.name} could not be fetched. Tried " + "; ".join(tried),
        "",
        f"Put the file into the mirror folder under the name {artifact.md5}, or run "
        f"`controller catalog import-files {component.id} DIR` with a folder that holds it",
    )


def _places(
    artifact: Artifact, mirror: Path | None
) -> Iterator[tuple[str, Callable[[Path], Path]]]:
    """Yield the places of a file, each with a function that returns its path after fetching."""
    if mirror is not None and (mirror / artifact.md5).is_file():
        copy = mirror / artifact.md5
        yield MIRROR, lambda scratch: copy
    for location in artifact.locations:
        if not location.provided:
            yield place_of(location), _fetcher(location)


def _fetcher(location: Location) -> Callable[[Path], Path]:
    # The size after decompression is not known; the limit of the transfer is the only one.
    limit_bytes = location.size_bytes * (_MAX_RATIO if location.compression else 1)
    return lambda scratch: fetch_location(location, scratch, limit_bytes)


def _store(file: Path, sha256: str, size_bytes: int, blobs: BlobFolder) -> None:
    if blobs.has(sha256) and file_digests(blobs.path(sha256))[1] != sha256:
        blobs.remove(sha256)  # damaged: replaced by the bytes that were just verified
    blobs.put_file(file, sha256, size_bytes)


def _md5_error(artifact: Artifact, place: str, md5: str, size_bytes: int) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.DIGEST_MISMATCH,
        f"{artifact.name} from {place}: md5 is {md5} ({size_bytes} bytes), its publisher states "
        f"{artifact.md5}",
        "",
        "Do not use this file: it is damaged, or not the published one",
    )
