"""Validate a catalog folder without a controller: components, references, files, models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fleetmark_catalog.load import Component, check_catalog
from fleetmark_controller.artifacts.local_files import describe, is_worth_hashing
from fleetmark_controller.artifacts.model_formats.model_check import check_model
from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError


def validate_folder(folder: Path) -> tuple[list[str], list[FleetmarkError]]:
    """Return the ids of the valid components below `folder`, and all errors of the others."""
    catalog, wrong = check_catalog([folder])
    own = [part for part in catalog.all() if part.folder.is_relative_to(folder)]
    if not own and not wrong:
        wrong = [
            FleetmarkError(
                ErrorKind.INVALID_COMPONENT,
                "the folder holds no component",
                str(folder),
                "A catalog has files <kind>/<name>/component.toml",
            )
        ]
    bad = [error for part in own for error in _files(part)]
    return [part.id for part in own], [*wrong, *bad]


def _files(component: Component) -> Iterator[FleetmarkError]:
    for artifact in component.artifacts:
        if not artifact.file:
            continue
        path = component.path(artifact.file)
        try:
            size = path.stat().st_size
            hashed = is_worth_hashing(size, artifact.size_bytes)
            found = sha256_file(path) if hashed else ""
            if (found, size) != (artifact.sha256, artifact.size_bytes):
                yield FleetmarkError(
                    ErrorKind.DIGEST_MISMATCH,
                    f"{describe(found, size)}, its component declares {artifact.sha256} "
                    f"({artifact.size_bytes} bytes)",
                    str(path),
                    "Write the new digest and size into component.toml, or restore the file",
                )
            else:
                check_model(path, artifact.name)
        except FleetmarkError as error:
            yield FleetmarkError(error.kind, error.what, str(path), error.next_step)
        except OSError as error:
            what = f"cannot be read: {error.strerror}"
            yield FleetmarkError(ErrorKind.ARTIFACT_UNAVAILABLE, what, str(path))
