"""The catalogs of a controller: built in, configured, and added or imported by operators.

`catalogs.json` in the controller's home lists the catalogs that operators added,
`file-confirmations.json` the files that admins confirmed. Imported models are in its `catalog/`,
commits of git repositories in `catalogs/<commit>/`. A restored home also has copies of the folders
outside it, in `catalogs/copies/`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleetmark_catalog.load import (
    Catalog,
    check_catalog,
    component_bytes,
    load_catalog,
)
from fleetmark_controller.artifacts.file_confirmations import CheckedFile, FileConfirmations
from fleetmark_controller.artifacts.git import fetch_commit
from fleetmark_controller.artifacts.model_import.components import FIRST_VERSION, comparable
from fleetmark_controller.home.catalog_copies import copy_folder, is_replaced
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_core.regular_file import read_regular

log = get_logger("fleetmark.controller")
_MAX_LIST_BYTES = 4 << 20
_OPTIONS = "import.json"
TextOf = Callable[[str], str]
"""Returns the text of a component for a version."""


@dataclass(frozen=True)
class Added:
    """A catalog that an operator added: a folder, or a commit of a repository below the home."""

    location: str
    commit: str = ""
    folder: str = ""


@dataclass(frozen=True)
class CatalogPlace:
    """The place from which a catalog outside the home is read."""

    location: str
    """As the operator gave it: a folder, or the address of a repository."""
    folder: Path
    """The folder to read. It does not exist if the catalog is missing."""
    copy: Path
    """The folder below the home in which a backup keeps the catalog."""
    is_replaced: bool = False
    """True if the operator's folder is missing and the copy from a restored backup is used."""


class Catalogs:
    """Registry that loads and changes the catalogs of one home. Not safe for concurrent use."""

    def __init__(self, home: Path, configured: Sequence[Path] = ()) -> None:
        """Use the catalogs of `home`; `configured` are the folders from config.toml and flags."""
        self._home = home
        self._configured = tuple(configured)
        self._list = home / "catalogs.json"
        self._confirmations = FileConfirmations(home)

    @property
    def imported_folder(self) -> Path:
        """The folder of imported components."""
        return self._home / "catalog"

    def places(self) -> tuple[list[CatalogPlace], list[CatalogPlace]]:
        """Return the places of the configured catalogs, and of those that operators added.

        A missing folder is replaced by its copy, if this home was restored with one.

        Raises:
            FleetmarkError: INVALID_COMPONENT: the list of added catalogs is damaged.
        """
        configured = [self._outside(str(folder)) for folder in self._configured]
        return configured, [self._place(entry) for entry in self._added()]

    def _place(self, entry: Added) -> CatalogPlace:
        if entry.commit:
            # Derived from the current home, because the home may have been moved.
            folder = self._commit_folder(entry.commit)
            return CatalogPlace(entry.location, folder, folder)
        return self._outside(entry.folder)

    def _outside(self, location: str) -> CatalogPlace:
        copy = copy_folder(self._home, location)
        if is_replaced(self._home, location):
            return CatalogPlace(location, copy, copy, is_replaced=True)
        return CatalogPlace(location, Path(location), copy)

    def load(self) -> Catalog:
        """Load all catalogs. Added catalogs that are no longer valid are logged and left out.

        Raises:
            FleetmarkError: a configured folder or the list of added catalogs is not valid.
        """
        configured, added = self.places()
        for place in (*configured, *added):
            if place.is_replaced:
                log.warning(
                    "copy of catalog used",
                    catalog=place.location,
                    path=place.folder,
                    reason="its folder is missing; the copy is from the restored backup",
                )
        folders = [place.folder for place in configured]
        catalog = load_catalog(folders)
        for folder in self._further():
            try:
                catalog = load_catalog([*folders, folder])
            except FleetmarkError as error:
                log.error("catalog not loaded", path=folder, error=error)
            else:
                folders.append(folder)
        return self._confirmations.apply(catalog)

    def checked_files(self, component: str) -> list[CheckedFile]:
        """Return the files of a component that were checked or confirmed.

        Args:
            component: its id, as `kind/name`.

        Raises:
            FleetmarkError: INVALID_COMPONENT: the list of confirmed files is damaged.
        """
        return [f for f in self._confirmations.load().values() if f.component == component]

    def record_checked(self, files: Sequence[CheckedFile]) -> None:
        """Record checked files. A confirmation of the same bytes stays.

        Raises:
            FleetmarkError: INVALID_COMPONENT: the list of confirmed files is damaged.
            OSError: the home cannot be written.
        """
        known = self._confirmations.load()
        new = [file for file in files if not _is_confirmed(known.get(file.key))]
        if new:
            self._confirmations.put(new)

    def record_files(self, files: Sequence[CheckedFile]) -> Catalog:
        """Record checked or confirmed files, and return the catalog with the confirmed ones.

        Raises:
            FleetmarkError: a catalog, or the list of confirmed files, is not valid.
            OSError: the home cannot be written.
        """
        self._confirmations.put(files)
        return self.load()

    def add(self, location: str, commit: str = "") -> tuple[Catalog, list[str]]:
        """Add a folder of this machine, or a repository at a commit.

        A folder that was added before is read again.

        Returns:
            The catalog, and the ids of the new components; of a folder that is read again, of all
            its components.

        Raises:
            FleetmarkError: the catalog is not valid, already added, or not available; nothing has
                changed.
            OSError: the home cannot be written.
        """
        added = self._added()
        if any((entry.location, entry.commit) == (location, commit) for entry in added):
            if not commit:
                return self._read_again(Path(location))
            what = f"commit {commit} of catalog {location} is already registered"
            raise FleetmarkError(ErrorKind.INVALID_COMPONENT, what, "", "Add another commit of it")
        if not commit:
            entry = Added(location, folder=location)
            return self._check_and_record(added, entry)
        folder = self._commit_folder(commit)
        if folder.exists():
            shutil.rmtree(folder)  # left by a crash, because no list names it
        fetch_commit(location, commit, folder)
        try:
            return self._check_and_record(added, Added(location, commit, str(folder)))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _read_again(self, folder: Path) -> tuple[Catalog, list[str]]:
        others = [one for one in self._valid() if one != folder]
        catalog, wrong = check_catalog([*others, folder])
        if wrong:
            raise wrong[0] if len(wrong) == 1 else _several(wrong)
        return catalog, [part.id for part in catalog.all() if part.folder.is_relative_to(folder)]

    def _check_and_record(self, added: Sequence[Added], entry: Added) -> tuple[Catalog, list[str]]:
        folder = Path(entry.folder)
        before = {component.id for component in self.load().all()}
        catalog, wrong = check_catalog([*self._valid(), folder])
        if wrong:
            raise wrong[0] if len(wrong) == 1 else _several(wrong)
        new = [component.id for component in catalog.all() if component.id not in before]
        if not new:
            raise FleetmarkError(
                ErrorKind.INVALID_COMPONENT,
                "the folder holds no component",
                entry.location,
                "A catalog has files <kind>/<name>/component.toml",
            )
        self._record([*added, entry])
        return self._confirmations.apply(catalog), new

    def put(
        self, name: str, texts: Mapping[str, TextOf], dropped: Sequence[str] = ()
    ) -> tuple[Catalog, list[str]]:
        """Add generated components of one name, or replace them by new versions: all, or none.

        Args:
            name: name of the components.
            texts: by kind, a function that returns the text of its file for a version.
            dropped: kinds of imported components of this name that are removed.

        Returns:
            The catalog, and the ids of the components that were added or changed. One of which only
            measurements would change stays as it is.

        Raises:
            FleetmarkError: a component of this name was not imported, or a new one is not valid.
            OSError: the home cannot be read or written.
        """
        known = self.load()
        new: dict[str, bytes] = {}
        for kind, text_of in texts.items():
            if not known.has(kind, name):
                new[kind] = text_of(FIRST_VERSION).encode()
            elif not self.is_same(kind, name, text_of, known):
                new[kind] = text_of(_next_version(known.get(kind, name).version)).encode()
        gone = [kind for kind in dropped if self.is_imported(kind, name)]
        before: dict[Path, bytes | None] = {}
        for kind in (*new, *gone):
            folder = self.imported_folder / kind / name
            before[folder] = component_bytes(folder) if self.is_imported(kind, name) else None
        if not before:
            return known, []
        is_new = not any(before.values())
        try:
            for kind, data in new.items():
                _write(self.imported_folder / kind / name, data)
            for kind in gone:
                shutil.rmtree(self.imported_folder / kind / name)
            catalog, wrong = check_catalog(self._valid(known_valid=not is_new))
            if wrong:
                raise wrong[0]
        except BaseException:
            for folder, data_before in before.items():
                if data_before is None:
                    shutil.rmtree(folder, ignore_errors=True)
                else:
                    _write(folder, data_before)
            raise
        return self._confirmations.apply(catalog), [f"{kind}/{name}" for kind in new]

    def is_same(self, kind: str, name: str, text_of: TextOf, known: Catalog) -> bool:
        """Return whether the imported component has this text, in any version.

        Measurements do not count.

        Args:
            kind: kind of the component.
            name: its name.
            text_of: returns the text of its file for a version.
            known: the catalog, which has the component.

        Raises:
            FleetmarkError: the component was not imported.
            OSError: its file cannot be read.
        """
        current = known.get(kind, name)
        if current.folder != self.imported_folder / kind / name:
            raise _exists_error(kind, name, "It was not imported: choose another --name")
        found = component_bytes(current.folder).decode(errors="replace")
        return comparable(found) == comparable(text_of(current.version))

    def remove(self, name: str) -> tuple[Catalog, list[str]]:
        """Remove an imported model and its benchmark; their files stay in the blob store.

        Returns:
            The catalog, and the ids of the removed components.

        Raises:
            FleetmarkError: NOT_FOUND: no model of this name was imported. Another error: the other
                components would not be valid; nothing has changed.
            OSError: the home cannot be written.
        """
        catalog = self.load()
        kinds = [
            kind
            for kind in ("benchmark", "model", "dataset")
            if catalog.has(kind, name)
            and catalog.get(kind, name).folder == self.imported_folder / kind / name
        ]
        if not kinds:
            raise _no_import_error(name)
        for kind in kinds:
            shutil.rmtree(self.imported_folder / kind / name)
        return self.load(), [f"{kind}/{name}" for kind in kinds]

    def is_imported(self, kind: str, name: str) -> bool:
        """Return whether an import made this component."""
        return (self.imported_folder / kind / name / "component.toml").is_file()

    def record_options(self, name: str, options: Mapping[str, Any]) -> None:
        """Store the options of the import of a model, for the next import of it.

        Raises:
            OSError: the home cannot be written.
        """
        text = json.dumps(options, indent=1, sort_keys=True) + "\n"
        write_atomic(self.imported_folder / "model" / name / _OPTIONS, text.encode())

    def options_of(self, name: str) -> dict[str, Any]:
        """Return the options of the last import of a model.

        Raises:
            FleetmarkError: NOT_FOUND: no model of this name was imported; BAD_DOCUMENT: its options
                are damaged, or from a version that did not store them.
        """
        # The name may come from anyone: it becomes part of a path only if the catalog has it.
        if not self.load().has("model", name) or not self.is_imported("model", name):
            raise _no_import_error(name)
        file = self.imported_folder / "model" / name / _OPTIONS
        try:
            found = parse_json(read_regular(file, _MAX_LIST_BYTES))
            if not isinstance(found, dict):
                raise ValueError("it is not a JSON object")
        except (OSError, ValueError) as error:
            raise FleetmarkError(
                ErrorKind.BAD_DOCUMENT,
                f"the options of the import of {name} cannot be read: {error}",
                "",
                "Give the options again, with `controller catalog import --replace`",
            ) from error
        return found

    def _commit_folder(self, commit: str) -> Path:
        return self._home / "catalogs" / commit

    def _further(self) -> list[Path]:
        own = [self.imported_folder] if self.imported_folder.is_dir() else []
        _, added = self.places()
        return [*(place.folder for place in added), *own]

    def _valid(self, *, known_valid: bool = False) -> list[Path]:
        """Return the folders that `load` does not leave out.

        Args:
            known_valid: True if the folder of imported components was valid before a change, and is
                to be checked now.
        """
        configured, _ = self.places()
        folders = [place.folder for place in configured]
        for folder in self._further():
            try:
                load_catalog([*folders, folder])
            except FleetmarkError:
                if not (known_valid and folder == self.imported_folder):
                    continue
            folders.append(folder)
        return folders

    def _added(self) -> list[Added]:
        try:
            entries = parse_json(read_regular(self._list, _MAX_LIST_BYTES))
            return [Added(**{key: str(value) for key, value in one.items()}) for one in entries]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, TypeError, AttributeError) as error:
            why = error.strerror if isinstance(error, OSError) else None
            raise FleetmarkError(
                ErrorKind.INVALID_COMPONENT,
                f"is not a valid list of catalogs: {why or error}",
                str(self._list),
                "Correct or remove the file",
            ) from error

    def _record(self, added: Sequence[Added]) -> None:
        text = json.dumps([asdict(entry) for entry in added], indent=1)
        write_atomic(self._list, text.encode())


def _is_confirmed(file: CheckedFile | None) -> bool:
    return file is not None and bool(file.confirmed_by)


def _write(folder: Path, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "component.toml", data)


def _no_import_error(name: str) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.NOT_FOUND,
        f"no imported model is called {name[:80]!r}",
        "",
        "See `controller catalog list model`",
    )


def _exists_error(kind: str, name: str, next_step: str) -> FleetmarkError:
    what = f"the catalog already has a {kind} {name!r}"
    return FleetmarkError(ErrorKind.INVALID_COMPONENT, what, "", next_step)


def _next_version(version: str) -> str:
    major, _, minor = version.rpartition(".")
    return f"{major}.{int(minor) + 1}" if major and minor.isdecimal() else f"{version}.1"


def _several(wrong: Sequence[FleetmarkError]) -> FleetmarkError:
    more = "; ".join(str(error) for error in wrong[:5])
    return FleetmarkError(
        ErrorKind.INVALID_COMPONENT,
        f"{len(wrong)} faults: {more}",
        "",
        "Run `controller catalog validate DIR` to list all",
    )
