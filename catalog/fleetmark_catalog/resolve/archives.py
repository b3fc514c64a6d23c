"""Packages that are archives of plain files: which one a board gets, or why none. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleetmark_catalog.load.model import Artifact, Component
from fleetmark_catalog.resolve.device import glibc_misfit
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.lockfile import PackageArchive

ANY = "any"
"""The architecture of what runs, or is read, on all."""


@dataclass(frozen=True)
class Archive:
    """The artefact that is unpacked, and what a lock says of it."""

    artifact: Artifact
    lock: PackageArchive


def has_archives(component: Component) -> bool:
    """Whether the package is archives; what else it could be are wheels."""
    return "archives" in component.body


def fit_archive(
    component: Component, version: str, board: Capabilities
) -> tuple[Archive | None, str]:
    """The first archive of `version` that the board can use, or None and what is missing."""
    entries = [
        entry
        for entry in component.body["archives"]
        if entry.get("version", component.version) == version
    ]
    what = f"{component.name} {version}"
    own = [entry for entry in entries if entry["arch"] in (ANY, board.arch)]
    if not own:
        have = ", ".join(dict.fromkeys(entry["arch"] for entry in entries))
        return None, f"{what} has no archive for {board.arch}; it has {have}"
    reasons: list[str] = []
    for entry in own:
        reason = glibc_misfit(entry["glibc"], board) if "glibc" in entry else ""
        if not reason:
            return _archive(component, entry), ""
        reasons.append(f"{what} {reason}")
    return None, "; ".join(dict.fromkeys(reasons))


def _archive(component: Component, entry: dict[str, Any]) -> Archive:
    (artifact,) = (a for a in component.artifacts if a.name == entry["artifact"])
    lock = PackageArchive(
        name=entry.get("name", component.name),
        archive=artifact.blob,
        unpacked_bytes=entry["unpacked_bytes"],
        bin=tuple(entry.get("bin", ())),
        lib=tuple(entry.get("lib", ())),
        python=tuple(entry.get("python", ())),
    )
    return Archive(artifact, lock)
