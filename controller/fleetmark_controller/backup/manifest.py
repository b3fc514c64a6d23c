"""The manifest of a backup: its files, and what it does not include."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fleetmark_core.digest import is_sha256
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.regular_file import read_regular

MANIFEST = "backup.json"
_FORMAT = 1
_MAX_BYTES = 32 << 20


@dataclass(frozen=True)
class FileEntry:
    """The size and digest of one file of a backup."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class BackupManifest:
    """The content of a backup."""

    made_at: str
    """ISO 8601, UTC."""
    version: str
    """Version of Fleetmark that created the backup."""
    files: Mapping[str, FileEntry]
    """All files except blobs, by their path in the home, with `/` between the parts."""
    blob_count: int
    """Number of blobs. They are not listed, because the name of each is its digest."""
    missing_blobs: tuple[str, ...] = ()
    """Digests that results or unfinished jobs need, but that were already missing or damaged."""
    outside: tuple[str, ...] = ()
    """Resources outside of the home that the controller uses, one line each; not in the backup."""

    def document(self) -> bytes:
        """Return the manifest as JSON."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, indent=1).encode() + b"\n"


def read_manifest(folder: Path) -> BackupManifest:
    """Read and check the manifest of the backup in `folder`.

    Raises:
        FleetmarkError: NOT_FOUND: the folder holds no backup, or an incomplete one; BAD_DOCUMENT:
            the manifest is damaged, names a file outside of the home, or has a newer format.
    """
    path = folder / MANIFEST
    try:
        values = parse_json(read_regular(path, _MAX_BYTES))
        if isinstance(values, dict) and isinstance(values.get("format"), int):
            _check_format(values["format"], path)
        manifest = _parse(values)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FleetmarkError(
            ErrorKind.NOT_FOUND,
            f"not a complete backup: {MANIFEST} is missing",
            str(folder),
            "Name the folder that `controller backup --out` wrote",
        ) from error
    except OSError as error:
        raise _damaged_error(path, error.strerror or str(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged_error(path, str(error)) from error
    return manifest


def _check_format(found: int, path: Path) -> None:
    if found != _FORMAT:
        raise FleetmarkError(
            ErrorKind.BAD_DOCUMENT,
            f"format {found} is not supported, expected {_FORMAT}",
            str(path),
            "Restore with the version of Fleetmark that made the backup",
        )


def _parse(values: Mapping[str, object]) -> BackupManifest:
    if values["format"] != _FORMAT:
        raise ValueError(f"format is {values['format']!r}, expected {_FORMAT}")
    files, count = values["files"], values["blob_count"]
    if not isinstance(files, dict) or not files:
        raise ValueError("files is not a table of files")
    if type(count) is not int or count < 0:
        raise ValueError(f"blob_count is {count!r}, expected a count")
    return BackupManifest(
        made_at=str(values["made_at"]),
        version=str(values["version"]),
        files={name: _entry(name, entry) for name, entry in files.items()},
        blob_count=count,
        missing_blobs=_texts(values, "missing_blobs"),
        outside=_texts(values, "outside"),
    )


def _entry(name: str, values: Mapping[str, object]) -> FileEntry:
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ValueError(f"{name!r} is not a path inside the home")
    size_bytes, sha256 = values["size_bytes"], values["sha256"]
    if type(size_bytes) is not int or size_bytes < 0:
        raise ValueError(f"{name}: size_bytes is {size_bytes!r}")
    if not isinstance(sha256, str) or not is_sha256(sha256):
        raise ValueError(f"{name}: sha256 is {sha256!r}")
    return FileEntry(size_bytes, sha256)


def _texts(values: Mapping[str, object], key: str) -> tuple[str, ...]:
    found = values[key]
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{key} is not a list of texts")
    return tuple(found)


def _damaged_error(path: Path, fault: str) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.BAD_DOCUMENT,
        f"the manifest is damaged: {fault}",
        str(path),
        "Restore another backup",
    )
