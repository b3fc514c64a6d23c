"""The catalog: all components of the built-in folder and of further ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fleetmark_catalog.core.errors import CatalogError, Fault
from fleetmark_catalog.load.model import KINDS, Component
from fleetmark_catalog.load.read import COMPONENT_FILE, read_component
from fleetmark_catalog.load.words import hint

BUILTIN = Path(__file__).resolve().parent.parent / "components"


class Catalog:
    """Components by kind and name. Immutable once made."""

    def __init__(self, components: Iterable[Component]) -> None:
        """Two components of one kind and name are refused.

        Raises:
            CatalogError: fault INVALID_COMPONENT.
        """
        self._components: dict[tuple[str, str], Component] = {}
        for component in components:
            key = (component.kind, component.name)
            other = self._components.get(key)
            if other is not None:
                raise CatalogError(
                    Fault.INVALID_COMPONENT,
                    f"{component.id} is already in {other.folder}",
                    str(component.folder / COMPONENT_FILE),
                    "Rename one of the two; a later catalog cannot replace a component",
                )
            self._components[key] = component

    def get(self, kind: str, name: str) -> Component:
        """The component of this kind and name.

        Raises:
            CatalogError: fault NOT_FOUND; the next step has the nearest name.
        """
        found = self._components.get((kind, name))
        if found is None:
            names = [other for kind_, other in self._components if kind_ == kind]
            raise CatalogError(
                Fault.NOT_FOUND, f"the catalog has no {kind} {name!r}", "", hint(name, names)
            )
        return found

    def has(self, kind: str, name: str) -> bool:
        """Whether there is such a component."""
        return (kind, name) in self._components

    def all(self, kind: str = "") -> list[Component]:
        """All components, or those of one kind, by kind and name."""
        return [
            component
            for (kind_, _), component in sorted(self._components.items())
            if kind in ("", kind_)
        ]


def load_catalog(folders: Sequence[Path] = ()) -> Catalog:
    """The built-in components, then those of further catalog folders, which add but never replace.

    A catalog folder holds `<kind>/<name>/component.toml`.

    Raises:
        CatalogError: fault INVALID_COMPONENT.
    """
    return Catalog(component for folder in (BUILTIN, *folders) for component in read_folder(folder))


def read_folder(folder: Path) -> list[Component]:
    """The components below one catalog folder.

    Raises:
        CatalogError: fault INVALID_COMPONENT, also where a component's place is not that which its
            kind and name ask for, and where the folder is none.
    """
    if not folder.is_dir():
        raise CatalogError(Fault.INVALID_COMPONENT, "is no folder", str(folder))
    found = []
    for kind_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        for place in sorted(path.parent for path in kind_folder.glob(f"*/{COMPONENT_FILE}")):
            if kind_folder.name not in KINDS:
                raise CatalogError(
                    Fault.INVALID_COMPONENT,
                    f"{kind_folder.name!r} is no kind of component",
                    str(place),
                    hint(kind_folder.name, KINDS),
                )
            component = read_component(place)
            if (component.kind, component.name) != (kind_folder.name, place.name):
                raise CatalogError(
                    Fault.INVALID_COMPONENT,
                    f"says {component.id}, but lies in {kind_folder.name}/{place.name}",
                    str(place / COMPONENT_FILE),
                )
            found.append(component)
    return found
