"""Creation of a backup of a controller's home; a controller may run on it meanwhile."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fleetmark_catalog.load import KINDS
from fleetmark_controller import __version__
from fleetmark_controller.artifacts.catalog_registry import CatalogPlace, Catalogs
from fleetmark_controller.backup.file_copy import copy_blob, copy_file
from fleetmark_controller.backup.manifest import (
    MANIFEST,
    BackupManifest,
    FileEntry,
    read_manifest,
)
from fleetmark_controller.home.credential_files import FOLDER
from fleetmark_controller.home.settings import load_settings
from fleetmark_controller.store.db.backup import copy_store, wanted_blobs
from fleetmark_controller.store.db.connection import STORE_NAME, check_integrity
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.blob_store import BlobFolder, remove_path
from fleetmark_core.clock import iso
from fleetmark_core.digest import sha256_file
from fleetmark_core.disk_space import is_disk_full
from fleetmark_core.errors import ErrorKind, FleetmarkError

_SIGNED_FILES = (
    *("config.toml", "catalogs.json", "catalog-trust.json", "release.json"),
    "file-confirmations.json",
)
"""Files that belong together with the keys in `identity/`, and that a controller replaces."""
_COPIED_FOLDERS = (FOLDER, "blobs", "builds", "catalog", "catalogs")
_TRIES = 5


@dataclass(frozen=True)
class Backup:
    """A finished backup."""

    manifest: BackupManifest
    blob_bytes: int
    catalogs: tuple[str, ...]
    """Locations of the catalogs outside of the home that the backup includes."""
    damaged_blobs: tuple[str, ...]
    """Digests of blobs that were left out, because they are damaged or cannot be read."""


def create_backup(home: Path, target: Path, now_ns: int) -> Backup:
    """Copy all files that a controller needs to continue on another machine.

    The generation of the epochs is intentionally left out: a restored controller begins a new one.

    Args:
        home: the controller's home.
        target: the new folder. Its manifest is written last: an interrupted backup has none.
        now_ns: the time, in nanoseconds since 1970.

    Raises:
        FleetmarkError: NOT_FOUND: the home has no store; USAGE: `target` exists, or is in a folder
            that is copied; DISK_FULL, CONFIGURATION: the target cannot be written, or could not be
            restored; STORE_UNUSABLE: the store cannot be read.
    """
    if not (home / STORE_NAME).exists():
        raise FleetmarkError(
            ErrorKind.NOT_FOUND, "no store here", str(home), "Name the controller's --home"
        )
    if target.exists():
        raise FleetmarkError(
            ErrorKind.USAGE, "exists already", str(target), "Name a folder that does not exist"
        )
    places, outside = _catalog_places(home)
    _check_target(target, home, places)
    try:
        target.mkdir(parents=True, mode=0o700)
        return _Writer(home, target, outside).write(places, now_ns)
    except (OSError, sqlite3.Error) as error:
        shutil.rmtree(target, ignore_errors=True)
        # An OSError has a code, and its text contains a path.
        full = is_disk_full(error) if isinstance(error, OSError) else "disk is full" in str(error)
        raise FleetmarkError(
            ErrorKind.DISK_FULL if full else ErrorKind.CONFIGURATION,
            f"no backup was made: {'no space left' if full else error}",
            str(target),
            "Free space there, or name another --out" if full else "",
        ) from error
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        raise


def _catalog_places(home: Path) -> tuple[list[CatalogPlace], list[str]]:
    """Return the catalogs of a home, and the lines about what its settings name outside of it."""
    folders: tuple[str, ...] = ()
    outside = []
    try:
        settings = load_settings(home)
    except FleetmarkError as error:
        outside.append(f"whatever config.toml names, since it is not valid: {error.what}")
    else:
        folders = settings.catalogs
        if settings.mirror:
            outside.append(f"mirror {settings.mirror}")
        if settings.power_cycle:
            outside.append(f"power_cycle command {settings.power_cycle[0]}")
    configured, added = Catalogs(home, [Path(folder) for folder in folders]).places()
    return [*configured, *added], outside


def _check_target(target: Path, home: Path, places: Sequence[CatalogPlace]) -> None:
    """Refuse a target that the backup would copy into itself."""
    sources = [home / name for name in _COPIED_FOLDERS]
    sources += [place.folder / kind for place in places for kind in KINDS]
    resolved = target.resolve()
    for source in sources:
        if resolved.is_relative_to(source.resolve()):
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"is inside {source}, which the backup copies",
                str(target),
                "Name a folder elsewhere",
            )


@dataclass
class _Writer:
    home: Path
    target: Path
    outside: list[str]
    files: dict[str, FileEntry] = field(default_factory=dict)
    catalogs: list[str] = field(default_factory=list)
    damaged_blobs: list[str] = field(default_factory=list)

    def write(self, places: Sequence[CatalogPlace], now_ns: int) -> Backup:
        # Copy the store first: each blob exists before a row of the store names it.
        copy_store(self.home / STORE_NAME, self.target / STORE_NAME)
        store = self.target / STORE_NAME
        check_integrity(store)
        self.files[STORE_NAME] = FileEntry(store.stat().st_size, sha256_file(store))
        self._copy_signed_files()
        self._copy_tree(self.home / "catalog", "catalog")
        for place in places:
            self._copy_catalog(place)
        self._copy_tree(self.home / "builds", "builds", "*.json")
        count, blob_bytes, missing = self._copy_blobs(store)
        manifest = BackupManifest(
            made_at=iso(now_ns),
            version=__version__,
            files=self.files,
            blob_count=count,
            missing_blobs=tuple(missing),
            outside=tuple(dict.fromkeys(map(_escaped, self.outside))),
        )
        write_atomic(self.target / MANIFEST, manifest.document(), private=True)
        self._check_manifest()
        return Backup(manifest, blob_bytes, tuple(self.catalogs), tuple(self.damaged_blobs))

    def _check_manifest(self) -> None:
        """Read the manifest as a restoration does: a backup that it refuses is worthless."""
        try:
            read_manifest(self.target)
        except FleetmarkError as error:
            raise FleetmarkError(
                ErrorKind.CONFIGURATION,
                f"no backup was made, because it could not be restored: {error.what}",
                str(self.target),
                "Remove files from the catalogs that no component needs",
            ) from error

    def _copy_signed_files(self) -> None:
        """Copy keys, trust and release consistently, as of one moment."""
        for _ in range(_TRIES):
            names = [
                *(name for name in _SIGNED_FILES if (self.home / name).exists()),
                *(f"{FOLDER}/{path.name}" for path in self._named_files(self.home / FOLDER)),
            ]
            copies = {name: self._copy(self.home / name, name) for name in names}
            if all(self._is_unchanged(name, copy) for name, copy in copies.items()):
                self.files |= copies
                return
            for name in names:
                remove_path(self.target / name)
        raise OSError(0, "keys and release are being changed; try again", str(self.home))

    def _is_unchanged(self, name: str, copy: FileEntry) -> bool:
        with suppress(FileNotFoundError):
            return sha256_file(self.home / name) == copy.sha256
        return False

    def _copy(self, source: Path, name: str) -> FileEntry:
        return copy_file(source, self.target / name)

    def _copy_catalog(self, place: CatalogPlace) -> None:
        """Copy the components of a folder; other files of the operator are not copied."""
        name = place.copy.relative_to(self.home).as_posix()
        if not place.folder.is_dir():
            self.outside.append(f"catalog {place.location}, which is missing")
            return
        if (self.target / name).exists():
            return  # configured, and added as well
        self.catalogs.append(place.location)
        for kind in KINDS:
            for file in sorted((place.folder / kind).glob("*/component.toml")):
                component = file.parent
                if self._has_valid_name(component):
                    self._copy_tree(component, f"{name}/{kind}/{component.name}")

    def _copy_tree(self, source: Path, name: str, pattern: str = "*") -> None:
        if not source.is_dir():
            return

        def list_unreadable(error: OSError) -> None:
            self.outside.append(f"{error.filename}, which cannot be read: {error.strerror}")

        for folder, folders, _ in os.walk(source, onerror=list_unreadable):
            here = Path(folder)
            for linked in (sub for sub in sorted(folders) if (here / sub).is_symlink()):
                self.outside.append(f"{here / linked}, a link to a folder")
            folders[:] = [sub for sub in folders if self._has_valid_name(here / sub)]
            for path in self._named_files(here, pattern):
                below = f"{name}/{path.relative_to(source).as_posix()}"
                self.files[below] = self._copy(path, below)

    def _copy_blobs(self, store: Path) -> tuple[int, int, list[str]]:
        """Return number and bytes of the copied blobs, and the digests of missing needed ones."""
        blobs, copies = BlobFolder(self.home / "blobs"), BlobFolder(self.target / "blobs")
        count = blob_bytes = 0
        for sha256 in blobs:
            try:
                size_bytes = copy_blob(blobs, copies, sha256)
            except (ValueError, FileNotFoundError):
                continue  # not a blob, or deleted since
            if size_bytes is None:
                self.damaged_blobs.append(sha256)
                continue
            count += 1
            blob_bytes += size_bytes
        return count, blob_bytes, [one for one in wanted_blobs(store) if not copies.has(one)]

    def _named_files(self, folder: Path, pattern: str = "*") -> Iterator[Path]:
        """Yield the files of a folder that a manifest can name; list the others as outside."""
        return filter(self._has_valid_name, _files(folder, pattern))

    def _has_valid_name(self, path: Path) -> bool:
        """Return whether a manifest, which is UTF-8, can name a path; list it as outside if not."""
        if _escaped(path.name) == path.name:
            return True
        self.outside.append(f"{path}, because its name is not UTF-8")
        return False


def _escaped(text: str) -> str:
    r"""Return `text` with `\udcff` for each byte, here 0xff, that is not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def _files(folder: Path, pattern: str = "*") -> Iterator[Path]:
    """Yield the regular files of a folder, without those that are being written."""
    for path in sorted(folder.glob(pattern)):
        if path.is_file() and not path.name.endswith(".tmp"):
            yield path
