"""What a release should hold, and what a lock lacks in one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleetmark_catalog.load import Catalog
from fleetmark_catalog.load.model import WheelFile
from fleetmark_catalog.load.release_definitions import definition
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.lockfile import BlobRef, Lock, parse_lock
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
    """A release of all that the catalog has now, with the wheels that were built.

    The serial is the time in seconds, or one more than that of the `last` release: so it rises even
    where a controller came back from an older copy. What the locks `needed` (jobs that wait) name,
    and the last release vouched for, stays.
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
    serial = max(now_s, last.serial + 1 if last is not None else 1)
    return Release(
        serial,
        now_s,
        now_s + life_s,
        tuple(components[key] for key in sorted(components)),
        tuple(sorted(harnesses)),
        tuple(sorted(wheels)),
    )


def holds(release: Release, other: Release) -> bool:
    """Whether all that `other` names is in `release`."""
    return (
        all(release.by_id.get(_id(found)) == found for found in other.components)
        and set(other.harnesses) <= set(release.harnesses)
        and set(other.built) <= set(release.built)
    )


def new_in(release: Release, last: Release | None) -> list[str]:
    """What a release has and the last one has not, for people: a line each."""
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


def lacks(release: Release, lock: bytes) -> str:
    """What keeps a lock from following from a release; empty if nothing does."""
    try:
        check_lock(release, parse_lock(lock))
    except FleetmarkError as error:
        return error.what
    return ""


def _readable(locks: Iterable[bytes]) -> Sequence[Lock]:
    found: list[Lock] = []
    for data in locks:
        try:
            found.append(parse_lock(data))
        except FleetmarkError:
            continue
    return found


def _id(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return found["kind"], found["name"], found["sha256"]


def _blob(blob: BlobRef) -> tuple[str, str, int]:
    return blob.name, blob.sha256, blob.size_bytes
