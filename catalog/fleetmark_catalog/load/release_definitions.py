"""Component definitions for a release: everything that a lockfile follows from, as JSON. Pure."""

from __future__ import annotations

from typing import Any

from fleetmark_catalog.load.model import Component
from fleetmark_core.lockfile import BlobRef
from fleetmark_core.serde import to_plain

_WHOLE = ("benchmark", "program", "model", "dataset", "package")
"""Kinds whose whole table decides what runs. For other kinds only `_REACHES_JOBS` is included."""
_REACHES_JOBS = ("environment", "system_site", "adapter", "module", "memory_bytes", "round")


def definition(component: Component) -> dict[str, Any]:
    """Return the component's definition for `fleetmark_core.release_policy`.

    Equal components have equal definitions.
    """
    body = dict(component.body)
    if component.kind not in _WHOLE:
        body = {key: body[key] for key in _REACHES_JOBS if key in body}
    found: dict[str, Any] = {
        "kind": component.kind,
        "name": component.name,
        "version": component.version,
        "sha256": component.sha256,
        "body": body,
    }
    variations = {
        name: {
            **({"set": variation.set} if variation.set else {}),
            **({"value": variation.value} if variation.value is not None else {}),
        }
        for name, variation in component.variations.items()
    }
    if variations:
        found["variations"] = variations
    if component.artifacts:
        found["artifacts"] = [
            {
                "role": artifact.role,
                "blob": _blob(artifact.blob),
                **({"when": list(artifact.when)} if artifact.when else {}),
            }
            for artifact in component.artifacts
            if artifact.is_confirmed
        ]
    if component.files:
        found["files"] = [_blob(blob) for blob in component.files]
    if component.wheels:
        found["wheels"] = [
            {
                "version": entry.version,
                "python": entry.python,
                "arch": entry.arch,
                "wheels": [_blob(wheel.blob) for wheel in entry.wheels],
            }
            for entry in component.wheels
        ]
    plain: dict[str, Any] = to_plain(found)
    return plain


def _blob(blob: BlobRef) -> list[Any]:
    return [blob.name, blob.sha256, blob.size_bytes]
