"""The catalog: all components of the built-in folder and of additional folders."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from fleetmark_catalog.load.model import KINDS, Component, WheelFile
from fleetmark_catalog.load.parse import COMPONENT_FILE, Document, build, read_document
from fleetmark_catalog.load.validate import missing_references
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import hint

BUILTIN = Path(__file__).resolve().parent.parent / "components"


class Catalog:
    """Components by kind and name, and the wheels that were built. Immutable after construction."""

    def __init__(self, components: Iterable[Component]) -> None:
        """Index the components; two components of the same kind and name are an error.

        Raises:
            FleetmarkError: INVALID_COMPONENT.
        """
        self.built: Mapping[str, WheelFile] = {}
        self._components: dict[tuple[str, str], Component] = {}
        for component in components:
            other = self._components.setdefault((component.kind, component.name), component)
            if other is not component:
                raise _duplicate_error(component.id, component.folder, other.folder)

    def knowing(self, built: Mapping[str, WheelFile]) -> Catalog:
        """Return a copy of this catalog in which the wheels `built` exist, by build key."""
        _ = self.shared_distributions  # computed once, for all copies
        other = copy.copy(self)
        other.built = built
        return other

    def replacing(self, components: Iterable[Component]) -> Catalog:
        """Return a copy of this catalog with other content for some of its components."""
        other = copy.copy(self)
        other._components = dict(self._components)
        for component in components:
            other._components[component.kind, component.name] = component
        return other

    def get(self, kind: str, name: str) -> Component:
        """Return the component of this kind and name.

        Raises:
            FleetmarkError: NOT_FOUND; the next step names the closest name.
        """
        found = self._components.get((kind, name))
        if found is None:
            names = [other for kind_, other in self._components if kind_ == kind]
            raise FleetmarkError(
                ErrorKind.NOT_FOUND, f"the catalog has no {kind} {name!r}", "", hint(name, names)
            )
        return found

    def find(self, kind: str, name: str) -> Component | None:
        """Return the component of this kind and name, or None."""
        return self._components.get((kind, name))

    def has(self, kind: str, name: str) -> bool:
        """Return whether the catalog has a component of this kind and name."""
        return (kind, name) in self._components

    def all(self, kind: str = "") -> list[Component]:
        """Return all components, or those of one kind, sorted by kind and name."""
        return [
            component
            for (kind_, _), component in sorted(self._components.items())
            if kind in ("", kind_)
        ]

    def named(self, text: str) -> Component:
        """Return the component that a user names as `name` or `kind/name`.

        Raises:
            FleetmarkError: NOT_FOUND, with the closest name; UNKNOWN_WORD if components of several
                kinds have this name.
        """
        kind, slash, name = text.partition("/")
        if slash and kind in KINDS:
            return self.get(kind, name)
        found = [part for part in self.all() if part.name == text]
        if len(found) > 1:
            raise FleetmarkError(
                ErrorKind.UNKNOWN_WORD,
                f"several components are named {text!r}",
                "",
                f"Use one of: {', '.join(part.id for part in found)}",
            )
        if not found:
            names = [word for part in self.all() for word in (part.name, part.id)]
            near = hint(text, names)
            raise FleetmarkError(
                ErrorKind.NOT_FOUND, f"the catalog has no component {text!r}", "", near
            )
        return found[0]

    @cached_property
    def shared_distributions(self) -> frozenset[str]:
        """Distributions whose wheels are part of more than one package."""
        brought: dict[str, set[str]] = {}
        for part in self.all("package"):
            for wheel in {wheel.name for entry in part.wheels for wheel in entry.wheels}:
                brought.setdefault(wheel, set()).add(part.name)
        return frozenset(name for name, parts in brought.items() if len(parts) > 1)

    def tags(self) -> set[str]:
        """Return all tags of components, and those that their variations pass on."""
        own = {tag for part in self._components.values() for tag in part.tags}
        return own | {
            tag
            for part in self._components.values()
            for variation in part.variations.values()
            for tag in (*variation.tags, variation.name)
        }

    def problems(self) -> list[FleetmarkError]:
        """Return all references to things that the catalog lacks, in the order of `all`."""
        tags = self.tags()
        return [
            FleetmarkError(
                ErrorKind.INVALID_COMPONENT, what, str(component.folder / COMPONENT_FILE)
            )
            for component in self.all()
            for what in missing_references(component, self.find, tags)
        ]


def load_catalog(folders: Sequence[Path] = ()) -> Catalog:
    """Load the built-in components and those of additional folders, which may not replace any.

    A catalog folder contains `<kind>/<name>/component.toml`.

    Raises:
        FleetmarkError: INVALID_COMPONENT.
    """
    return Catalog(_build(d for folder in (BUILTIN, *folders) for d in _documents(folder)))


def read_folder(folder: Path) -> list[Component]:
    """Return the components of one catalog folder, which may extend only each other.

    Raises:
        FleetmarkError: INVALID_COMPONENT. This includes a component whose folder does not match its
            kind and name, and a `folder` that is not a folder.
    """
    return _build(_documents(folder))


def check_catalog(folders: Sequence[Path]) -> tuple[Catalog, list[FleetmarkError]]:
    """Return the valid part of the catalog, and all errors in the additional `folders`.

    Raises:
        FleetmarkError: the built-in components are not valid.
    """
    wrong: list[FleetmarkError] = []
    # The built-in folder itself can be checked as well.
    itself = any(folder.resolve() == BUILTIN for folder in folders)
    documents = [] if itself else list(_documents(BUILTIN))
    own: list[Document] = []
    for folder in folders:
        try:
            own += _documents(folder, wrong.append)
        except FleetmarkError as error:
            wrong.append(error)
    catalog = Catalog(_build([*documents, *own], wrong.append))
    if not wrong:
        places = {str(document.folder / COMPONENT_FILE) for document in own}
        wrong = [error for error in catalog.problems() if error.where in places]
    return catalog, wrong


Report = Callable[[FleetmarkError], None]


def _raise(error: FleetmarkError) -> None:
    raise error


def _documents(folder: Path, report: Report = _raise) -> list[Document]:
    if not folder.is_dir():
        raise FleetmarkError(ErrorKind.INVALID_COMPONENT, "is not a folder", str(folder))
    found = []
    try:
        kinds = sorted(path for path in folder.iterdir() if path.is_dir())
        places = [place for kind in kinds for place in sorted(kind.glob(f"*/{COMPONENT_FILE}"))]
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise FleetmarkError(
            ErrorKind.INVALID_COMPONENT, what, str(error.filename or folder)
        ) from error
    for place in (path.parent for path in places):
        try:
            found.append(_document(place.parent.name, place))
        except FleetmarkError as error:
            report(error)
    return found


def _document(kind: str, place: Path) -> Document:
    if kind not in KINDS:
        raise FleetmarkError(
            ErrorKind.INVALID_COMPONENT,
            f"{kind!r} is not a kind of component",
            str(place),
            hint(kind, KINDS),
        )
    document = read_document(place)
    if (document.kind, document.name) != (kind, place.name):
        raise FleetmarkError(
            ErrorKind.INVALID_COMPONENT,
            f"declares {document.kind}/{document.name}, but is in the folder {kind}/{place.name}",
            str(place / COMPONENT_FILE),
        )
    return document


def _build(documents: Iterable[Document], report: Report = _raise) -> list[Component]:
    by_id: dict[tuple[str, str], Document] = {}
    for document in documents:
        other = by_id.setdefault((document.kind, document.name), document)
        if other is not document:
            report(
                _duplicate_error(f"{document.kind}/{document.name}", document.folder, other.folder)
            )
    built = []
    for document in by_id.values():
        try:
            built.append(build(_lineage(document, by_id)))
        except FleetmarkError as error:
            report(error)
    return built


def _lineage(own: Document, by_id: dict[tuple[str, str], Document]) -> list[Document]:
    lineage = [own]
    while lineage[-1].extends:
        last = lineage[-1]
        parent = by_id.get((last.kind, last.extends))
        file = str(own.folder / COMPONENT_FILE)
        if parent is None:
            names = [name for kind, name in by_id if kind == last.kind]
            raise FleetmarkError(
                ErrorKind.INVALID_COMPONENT,
                f"key extends: the catalog has no {last.kind} {last.extends!r}",
                str(last.folder / COMPONENT_FILE),
                hint(last.extends, names),
            )
        if parent in lineage:
            names = [document.name for document in (*lineage, parent)]
            raise FleetmarkError(
                ErrorKind.INVALID_COMPONENT,
                f"key extends: cycle: {' → '.join(names)}",
                file,
                "Remove the key extends from one of these components",
            )
        lineage.append(parent)
    return lineage


def _duplicate_error(name: str, folder: Path, other: Path) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.INVALID_COMPONENT,
        f"{name} is already in {other}",
        str(folder / COMPONENT_FILE),
        "Rename one of them; a catalog cannot replace a component of another catalog",
    )
