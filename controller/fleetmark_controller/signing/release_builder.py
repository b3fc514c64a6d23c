"""Build the proposal of the next release, and compare releases and lockfiles. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleetmark_catalog.load import Catalog
from fleetmark_catalog.load.model import WheelFile
from fleetmark_catalog.load.release_definitions import definition
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.lockfile import BlobRef, Lockfile, parse_lockfile
from fleetmark_core.release import Release
from fleetmark_core.release_policy import check_lock


def propose(
    catalog: Catalog,
    harness: BlobRef,
    built: Mapping[str, WheelFile],
    *,
    now_s: int,
    life_s: int,
    last: Release | None = None,
    needed: Iterable[bytes] = (),
) -> Release:
    """Return a release of everything in the catalog, together with the wheels that were built.

    The version is the current time in seconds, or that of the `last` release plus one if that
    is higher. It therefore rises even after a controller was restored from an older copy.

    Args:
        catalog: Catalog whose components the release lists.
        harness: Blob of the current harness.
        built: Wheels that the controller built.
        now_s: Current time, in Unix seconds.
        life_s: Seconds until the release expires.
        last: The previous release.
        needed: Lockfiles of waiting jobs. Targets of the previous release that they name are kept.
    """
    components = {_id(found): found for found in map(definition, catalog.all())}
    harnesses = {_blob(harness)}
    wheels = {_blob(wheel.blob) for wheel in built.values()}
    if last is not None:
        for lock in _readable(needed):
            for part in lock.components:
                key = (part.kind, part.name, part.sha256)
                if key in last.by_id:
                    components.setdefault(key, last.by_id[key])
            named = {_blob(wheel) for wheel in lock.environment.wheels}
            harnesses |= named & set(last.harnesses)
            wheels |= named & set(last.built)
    version = max(now_s, last.version + 1 if last is not None else 1)
    return Release(
        version,
        now_s,
        now_s + life_s,
        tuple(components[key] for key in sorted(components)),
        tuple(sorted(harnesses)),
        tuple(sorted(wheels)),
    )


def covers(release: Release, other: Release) -> bool:
    """Return whether `release` contains all targets of `other`."""
    return (
        all(release.by_id.get(_id(found)) == found for found in other.components)
        and set(other.harnesses) <= set(release.harnesses)
        and set(other.built) <= set(release.built)
    )


def added_since(release: Release, last: Release | None) -> list[str]:
    """Return a line for each target of a release that the last one does not have, for operators."""
    before = last.by_id if last is not None else {}
    lines = [
        f"{found['kind']}/{found['name']} {found['version']}"
        for found in release.components
        if before.get(_id(found)) != found
    ]
    known = {*last.harnesses, *last.built} if last is not None else set()
    made = [*release.harnesses, *release.built]
    return lines + [
        f"{name} ({sha256[:12]}…)"
        for name, sha256, size in made
        if (name, sha256, size) not in known
    ]


def missing_from(release: Release, lock: bytes) -> str:
    """Return why a lockfile does not follow from a release; empty if it does."""
    try:
        check_lock(release, parse_lockfile(lock))
    except FleetmarkError as error:
        return error.what
    return ""


def _readable(locks: Iterable[bytes]) -> Sequence[Lockfile]:
    found: list[Lockfile] = []
    for data in locks:
        try:
            found.append(parse_lockfile(data))
        except FleetmarkError:
            continue
    return found


def _id(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return found["kind"], found["name"], found["sha256"]


def _blob(blob: BlobRef) -> tuple[str, str, int]:
    return blob.name, blob.sha256, blob.size_bytes
