"""The files of a model on an operator's machine: one file, several, or a member of a bundle."""

from __future__ import annotations

import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleetmark_controller.artifacts.model_formats.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.model_import.imported_model import description_of
from fleetmark_controller.artifacts.model_import.plan import Description
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import open_regular
from fleetmark_core.suggest import hint
from fleetmark_core.zip_reader import open_zip

BUNDLE = ".task"
"""File name ending of MediaPipe's bundles, which are zip archives of TFLite models."""
_MAX_MEMBERS = 10_000
_CHUNK_BYTES = 1 << 20
_DAMAGED = (
    *(ValueError, EOFError, struct.error, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class ModelFiles:
    """A model, and the files beside it that hold its weights."""

    path: Path
    file_name: str
    """Name of the model, whose ending gives its format."""
    description: Description
    external: tuple[Path, ...] = ()


@contextmanager
def open_model_files(path: Path, member: str = "") -> Iterator[ModelFiles]:
    """Check a model's files; those of a bundle exist only inside the context.

    Args:
        path: the model, or the bundle that contains it.
        member: the model in a bundle; empty if it has only one.

    Raises:
        FleetmarkError: USAGE: the bundle has several models, or none of this name. BAD_DOCUMENT:
            a file is not a model, is damaged, or is missing.
        OSError: a file cannot be read.
    """
    if path.suffix.lower() != BUNDLE:
        if member:
            what = "only a bundle has members"
            raise FleetmarkError(ErrorKind.USAGE, what, "--member", f"{path.name} is one model")
        description = description_of(path, path.name)
        yield ModelFiles(path, path.name, description, _external(path, description))
        return
    with tempfile.TemporaryDirectory(prefix="fleetmark-bundle-") as scratch:
        found = _extract(path, member, Path(scratch))
        name = path.stem if not member else f"{path.stem}-{Path(member).stem}"
        yield ModelFiles(found, f"{name}.tflite", description_of(found, found.name))


def _external(path: Path, description: Description) -> tuple[Path, ...]:
    """Return the files beside a model that hold its weights, after a check of their presence."""
    if not isinstance(description, OnnxDescription):
        return ()
    found = []
    for name in description.external:
        place = path.parent / name
        try:
            # A link could lead out of the folder.
            with open_regular(place):
                found.append(place)
        except OSError as error:
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT,
                f"keeps weights in {name!r}, which cannot be read: {error.strerror or error}",
                path.name,
                "Put the file into the folder of the model",
            ) from error
        if place.is_symlink():
            what = f"keeps weights in {name!r}, which is a link"
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT, what, path.name, "Put the file itself there"
            )
    return tuple(found)


def _extract(path: Path, member: str, folder: Path) -> Path:
    try:
        with open_zip(path) as archive:
            entry = _chosen(_models(archive, path.name), member, path.name)
            target = folder / "model.tflite"
            left = entry.file_size
            with archive.open(entry) as source, target.open("wb") as file:
                while left > 0 and (data := source.read(min(left, _CHUNK_BYTES))):
                    file.write(data)
                    left -= len(data)
    except _DAMAGED as error:
        what = f"is not a readable bundle: {error}"[:300]
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, path.name) from error
    return target


def _models(archive: zipfile.ZipFile, where: str) -> list[zipfile.ZipInfo]:
    """Return the members that are TFLite models, whatever their names are."""
    entries = archive.infolist()
    if len(entries) > _MAX_MEMBERS:
        what = f"has {len(entries)} members, allowed {_MAX_MEMBERS}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, where)
    found = []
    for entry in entries:
        if entry.is_dir() or entry.file_size < 8:
            continue
        with archive.open(entry) as file:
            if file.read(8)[4:] == b"TFL3":
                found.append(entry)
    return found


def _chosen(models: list[zipfile.ZipInfo], member: str, where: str) -> zipfile.ZipInfo:
    names = [entry.filename for entry in models]
    if not names:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, "contains no TFLite model", where)
    listed = ", ".join(name[:80] for name in names[:20])
    if not member and len(names) > 1:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"contains {len(names)} models: {listed}",
            where,
            f"Give --member {names[0][:80]}",
        )
    if member and member not in names:
        near = hint(member[:80], names)
        what = f"contains no model {member[:80]!r}"
        raise FleetmarkError(ErrorKind.USAGE, what, where, near or f"Its models are {listed}")
    return models[names.index(member) if member else 0]
