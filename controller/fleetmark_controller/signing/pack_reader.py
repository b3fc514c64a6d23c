"""Verify and unpack a pack: its digests, its signatures, and that all follows from its releases."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fleetmark_catalog.load import load_catalog
from fleetmark_controller.signing.pack_writer import PACK_FORMAT
from fleetmark_core.digest import sha256_file, sha256_hex
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import LockedComponent, Lockfile, parse_lockfile
from fleetmark_core.regular_file import read_regular
from fleetmark_core.release import MAX_RELEASE_BYTES, Release, parse_envelope
from fleetmark_core.release_policy import check_lock
from fleetmark_core.safe_unpack import UnpackLimits, unpack

_SUM = re.compile(r"([0-9a-f]{64})  (\S.*)")
_MAX_ENTRIES = 1_000_000
_MAX_LIST_BYTES = 64 << 20
_PACK = "pack"
_HEX = re.compile(r"[0-9a-f]{64}")


def unpack_pack(archive: Path, target: Path, trusted: str = "") -> dict[str, object]:
    """Verify `archive` and unpack it into the new folder `target`; on failure leave nothing.

    Args:
        archive: File of the pack.
        target: Folder that is empty or does not exist.
        trusted: Fingerprint of the catalog key that must have signed the releases. Without it, the
            fingerprint that the pack names is used, which only shows that the pack is consistent.

    Returns:
        Facts about the pack, to be shown to the operator.

    Raises:
        FleetmarkError: the pack is damaged, incomplete, or not signed by the key.
        FleetmarkError: USAGE: `trusted` is not a fingerprint, or `target` is not empty or cannot be
            written.
    """
    if trusted and not _HEX.fullmatch(trusted):
        raise FleetmarkError(
            ErrorKind.USAGE,
            "is not a valid fingerprint of a catalog key",
            "--trust",
            "Give 64 hexadecimal digits",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FleetmarkError(
            ErrorKind.USAGE, "already exists", str(target), "Give the path of a new folder"
        )
    scratch = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        # The entries are stored uncompressed, so together they cannot be larger than the file.
        unpack(archive, scratch, UnpackLimits(archive.stat().st_size, _MAX_ENTRIES))
        found = _verified(scratch, trusted)
        if target.exists():
            target.rmdir()
        scratch.rename(target)
    except FleetmarkError as error:
        if error.where not in (_PACK, archive.name):
            raise
        raise FleetmarkError(error.kind, error.what, str(archive), error.next_step) from error
    except OSError as error:
        what = error.strerror or str(error)
        raise FleetmarkError(ErrorKind.USAGE, what, str(error.filename or target)) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return found


def _verified(folder: Path, trusted: str) -> dict[str, object]:
    files = _check_sums(folder)
    about = _about(folder)
    pinned = trusted or about["catalog_sha256"]
    releases = [_release(folder, sha256, pinned) for sha256 in about["releases"]]
    if not releases:
        raise _bad_pack_error(
            "it holds no signed release: its campaign ran before releases were introduced"
        )
    locks = [_lock(folder, sha256, releases) for sha256 in about["locks"]]
    for lock in locks:
        for blob in lock.blobs():
            place = folder / "mirror" / blob.sha256
            if not place.is_file() or place.stat().st_size != blob.size_bytes:
                raise _bad_pack_error(f"mirror/{blob.sha256} ({blob.name}) is missing")
    for place in (folder / "mirror").iterdir():
        if sha256_file(place) != place.name:
            raise FleetmarkError(
                ErrorKind.DIGEST_MISMATCH,
                "its content does not match the sha256 in its name",
                str(place),
            )
    parts = {part for lock in locks for part in lock.components}
    same, added, others = _compare(folder, parts)
    return {
        "campaign": about["campaign_id"],
        "fleetmark": about["fleetmark"],
        "files": files,
        "locks": len(locks),
        "releases": ", ".join(str(release.version) for release in releases),
        "signed by": f"{pinned}{'' if trusted else ' (not verified: no --trust given)'}",
        "as installed here": len(same),
        "in added/": ", ".join(added) or None,
        "other than here": ", ".join(others) or None,
    }


def _check_sums(folder: Path) -> int:
    """Verify that CHECKSUMS lists exactly the files of the folder; return how many there are."""
    try:
        lines = read_regular(folder / "CHECKSUMS", _MAX_LIST_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad_pack_error("it is not a pack: CHECKSUMS is missing") from error
    listed: dict[str, str] = {}
    for line in lines:
        match = _SUM.fullmatch(line)
        if match is None:
            raise _bad_pack_error(f"CHECKSUMS has an invalid line: {line[:80]!r}")
        listed[match[2]] = match[1]
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {
        "CHECKSUMS"
    }
    for name in sorted(found ^ listed.keys()):
        raise _bad_pack_error(f"{name} is {'not in CHECKSUMS' if name in found else 'missing'}")
    for name in sorted(found):
        if sha256_file(folder / name) != listed[name]:
            raise FleetmarkError(
                ErrorKind.DIGEST_MISMATCH,
                "its content does not match its digest in CHECKSUMS",
                name,
            )
    return len(found)


def _about(folder: Path) -> dict[str, Any]:
    try:
        values = parse_json(read_regular(folder / "pack.json", _MAX_LIST_BYTES))
        if values["format"] != PACK_FORMAT:
            raise ValueError(f"format {values['format']!r}")
        texts = [values["catalog_sha256"], values["campaign_id"], values["fleetmark"]]
        digests = [*values["locks"], *values["releases"], values["catalog_sha256"]]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a name is not a string")
        if not all(_HEX.fullmatch(digest) for digest in digests):
            raise ValueError("a digest is not 64 hexadecimal digits")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _bad_pack_error(f"pack.json is not valid: {error}") from error
    return dict(values)


def _release(folder: Path, sha256: str, pinned: str) -> Release:
    data = _read(folder / "releases" / f"{sha256}.json", sha256)
    release, _ = parse_envelope(data).open(pinned)
    return release


def _lock(folder: Path, sha256: str, releases: Iterable[Release]) -> Lockfile:
    lock = parse_lockfile(_read(folder / "locks" / f"{sha256}.json", sha256))
    wrong: FleetmarkError | None = None
    for release in releases:
        try:
            check_lock(release, lock)
        except FleetmarkError as error:
            wrong = error
        else:
            return lock
    assert wrong is not None
    raise wrong


def _read(path: Path, sha256: str) -> bytes:
    try:
        data = read_regular(path, MAX_RELEASE_BYTES)
    except FileNotFoundError as error:
        raise _bad_pack_error(f"{path.parent.name}/{path.name} is missing") from error
    if sha256_hex(data) != sha256:
        raise FleetmarkError(
            ErrorKind.DIGEST_MISMATCH,
            "its content does not match the sha256 in its name",
            path.name,
        )
    return data


def _compare(
    folder: Path, parts: Iterable[LockedComponent]
) -> tuple[list[str], list[str], list[str]]:
    """Compare the components of the pack's lockfiles with the installed ones.

    Components that are not installed here are copied to `added/`, as a catalog of their own.

    Returns:
        The names of components that are installed with the same digest, those copied to `added/`,
        and those that are available only with another digest or not at all.
    """
    own = load_catalog()
    packed = folder / "components"
    (folder / "added").mkdir()
    added: list[str] = []
    for place in sorted(packed.glob("*/*")):
        kind, name = place.parent.name, place.name
        if not own.has(kind, name) and (place / "component.toml").is_file():
            shutil.copytree(place, folder / "added" / kind / name)
            added.append(f"{kind}/{name}")
    whole = load_catalog([folder / "added"])
    same: list[str] = []
    others: list[str] = []
    for part in sorted(parts, key=lambda part: (part.kind, part.name)):
        found = whole.find(part.kind, part.name)
        as_locked = found is not None and found.sha256 == part.sha256
        name = f"{part.kind}/{part.name}"
        if not as_locked:
            others.append(name)
        elif name not in added:
            same.append(name)
    return same, added, others


def _bad_pack_error(what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.BAD_DOCUMENT, what, _PACK, "Copy or download the file again")
