"""Packages that are archives of plain files: selects the archive for a device. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fleetmark_catalog.load.model import Artifact, Component
from fleetmark_catalog.resolve.device import glibc_misfit
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.lockfile import PackageArchive

ANY = "any"
"""The architecture of archives that work on every device."""


@dataclass(frozen=True)
class Archive:
    """The artifact to unpack, and its entry in the lockfile."""

    artifact: Artifact
    lock: PackageArchive


def has_archives(component: Component) -> bool:
    """Return whether the package consists of archives; other packages consist of wheels."""
    return "archives" in component.body


def fit_archive(
    component: Component, version: str, device: Capabilities
) -> tuple[Archive | None, str]:
    """Return the first archive of `version` that fits the device, or None and the reason."""
    entries = [
        entry
        for entry in component.body["archives"]
        if entry.get("version", component.version) == version
    ]
    what = f"{component.name} {version}"
    own = [entry for entry in entries if entry["arch"] in (ANY, device.arch)]
    if not own:
        have = ", ".join(dict.fromkeys(entry["arch"] for entry in entries))
        return None, f"{what} has no archive for {device.arch}; it has {have}"
    reasons: list[str] = []
    for entry in own:
        reason = glibc_misfit(entry["glibc"], device) if "glibc" in entry else ""
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
