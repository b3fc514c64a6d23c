"""Parses `component.toml` into a validated `Component`, with errors that name the key."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema.protocols import Validator

from fleetmark_catalog.load.merge import merge
from fleetmark_catalog.load.model import (
    KINDS,
    Artifact,
    BuildRecipe,
    Choice,
    Component,
    Location,
    Requirement,
    Sdist,
    Tool,
    Variation,
    WheelFile,
    WheelSet,
)
from fleetmark_catalog.load.schema import partial_schema, whole_schema
from fleetmark_catalog.load.schema_errors import fault, validator_of
from fleetmark_catalog.load.validate import problems
from fleetmark_core.digest import canonical_json, is_sha256, sha256_hex
from fleetmark_core.document_parser import parse_json, parse_toml
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import BlobRef
from fleetmark_core.regular_file import read_regular
from fleetmark_core.suggest import nearest
from fleetmark_core.versions import PYTHON

COMPONENT_FILE = "component.toml"
WHEELS_FILE = "wheels.json"
MAX_COMPONENT_BYTES = 1 << 20
MAX_WHEELS_BYTES = 16 << 20
MAX_PROGRAM_FILE_BYTES = 64 << 20
_SHOWN = 80


@dataclass(frozen=True)
class Document:
    """A `component.toml` that is valid in itself, before its parents are looked up."""

    kind: str
    name: str
    extends: str
    folder: Path
    sha256: str
    table: dict[str, Any]


def read_document(folder: Path) -> Document:
    """Read and validate the `component.toml` in `folder`.

    Raises:
        FleetmarkError: INVALID_COMPONENT; it names the file, the key, the value and the allowed
            values.
    """
    data = component_bytes(folder)
    try:
        document = _valid_table(data)
    except ValueError as error:
        raise _invalid_component_error(folder / COMPONENT_FILE, str(error)) from error
    return Document(
        document["kind"],
        document["name"],
        document.get("extends", ""),
        folder,
        sha256_hex(data),
        document,
    )


@lru_cache(maxsize=1024)
def _valid_table(data: bytes) -> dict[str, Any]:
    """Parse and validate a document.

    The result is shared: do not change it. Parsing and validating take most of the time that
    loading a catalog takes, and a catalog is loaded again for each change to one of its components.

    Raises:
        ValueError: it is not valid.
    """
    try:
        document = parse_toml(data)
    except ValueError as error:
        raise ValueError(f"is not TOML: {error}") from error
    kind = document.get("kind")
    if kind not in KINDS:
        likely = nearest(kind[:_SHOWN], KINDS) if isinstance(kind, str) else ""
        near = f"; did you mean {likely!r}?" if likely else ""
        found = repr(kind)[:_SHOWN]
        raise ValueError(f"key kind: found {found}, allowed {', '.join(KINDS)}{near}")
    if what := fault(_validator(kind, "extends" not in document), document):
        raise ValueError(what)
    return document


def read_component(folder: Path) -> Component:
    """Read the component in `folder`, which must not extend another component.

    Raises:
        FleetmarkError: INVALID_COMPONENT; it names the file, the key, the value and the allowed
            values.
    """
    document = read_document(folder)
    if document.extends:
        raise _invalid_component_error(
            folder / COMPONENT_FILE,
            f"key extends: {document.kind}/{document.extends} is only available in a "
            "complete catalog",
        )
    return build([document])


def build(lineage: Sequence[Document]) -> Component:
    """Return the component of a lineage: its document, followed by its parents, the nearest first.

    Raises:
        FleetmarkError: INVALID_COMPONENT.
    """
    own = lineage[0]
    file = own.folder / COMPONENT_FILE
    table = lineage[-1].table
    for document in reversed(lineage[:-1]):
        table = merge(table, document.table)
    if len(lineage) > 1:
        check(table, own.kind, file)
    component = _component(table, lineage)
    wrong = next(problems(component), None)
    if wrong is not None:
        raise _invalid_component_error(file, wrong)
    return component


def check(document: dict[str, Any], kind: str, file: Path, whole: bool = True) -> None:
    """Validate a document against the schema of its kind.

    Args:
        document: the parsed document.
        kind: the kind of component.
        file: named in errors.
        whole: require all keys; False for a document that extends another one.

    Raises:
        FleetmarkError: INVALID_COMPONENT.
    """
    if what := fault(_validator(kind, whole), document):
        raise _invalid_component_error(file, what)


@lru_cache(maxsize=2 * len(KINDS))
def _validator(kind: str, whole: bool) -> Validator:
    return validator_of((whole_schema if whole else partial_schema)(kind))


def _invalid_component_error(file: Path, what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.INVALID_COMPONENT, what, str(file))


def component_bytes(folder: Path) -> bytes:
    """Return the bytes of the `component.toml` in `folder`.

    Args:
        folder: the component's folder.

    Raises:
        FleetmarkError: INVALID_COMPONENT: it is missing, not a regular file, or too large.
    """
    return _bytes(folder / COMPONENT_FILE, MAX_COMPONENT_BYTES)


def _bytes(file: Path, limit_bytes: int) -> bytes:
    try:
        return read_regular(file, limit_bytes)
    except OSError as error:
        raise _unreadable_error(file, error) from error


def _unreadable_error(file: Path, error: OSError) -> FleetmarkError:
    return _invalid_component_error(file, f"cannot be read: {error.strerror or error}")


def _component(document: dict[str, Any], lineage: Sequence[Document]) -> Component:
    own = lineage[0]
    kind, body = own.kind, document[own.kind]
    folders = tuple(ancestor.folder for ancestor in lineage)
    digests = [ancestor.sha256 for ancestor in lineage]
    return Component(
        kind=kind,
        name=own.name,
        version=document["version"],
        title=document["title"],
        license=document["license"],
        source=document.get("source", ""),
        folder=own.folder,
        sha256=own.sha256 if len(lineage) == 1 else sha256_hex(canonical_json(digests)),
        tags=tuple(document.get("tags", ())),
        device=document.get("device", ""),
        requires=_requirements(document.get("requires", ())),
        variations={
            name: _variation(name, table) for name, table in document.get("variations", {}).items()
        },
        artifacts=tuple(_artifact(table) for table in document.get("artifacts", ())),
        body=body,
        files=_files(folders, body.get("files", ())) if kind == "program" else (),
        wheels=_wheels(folders) if kind == "package" else (),
        recipe=_recipe(body["build"]) if kind == "package" and "build" in body else None,
        scheme=document.get("version_scheme", PYTHON),
        parents=tuple(f"{kind}/{ancestor.name}" for ancestor in lineage[1:]),
        folders=folders,
    )


def _requirements(tables: Iterable[dict[str, Any]]) -> tuple[Requirement, ...]:
    found = []
    for table in tables:
        choices = tuple(_choice(choice) for choice in table.get("any_of", [table]))
        role = table.get("role") or choices[0].name or choices[0].kind
        found.append(Requirement(role, choices, table.get("when", "")))
    return tuple(found)


def _choice(table: dict[str, Any]) -> Choice:
    kind, _, name = table.get("component", f"{table.get('kind')}/").partition("/")
    return Choice(kind, name, table.get("version", ""), tuple(table.get("tags", ())))


def _variation(name: str, table: dict[str, Any]) -> Variation:
    return Variation(
        name=name,
        # Values of the same open variation exclude each other.
        group=table.get("group", name if name.endswith(".#") else ""),
        default=table.get("default", False),
        title=table.get("title", ""),
        tags=tuple(table.get("tags", ())),
        requires=_requirements(table.get("requires", ())),
        set=table.get("set", {}),
        excludes=tuple(table.get("excludes", ())),
        when=table.get("when", ""),
        value=table.get("value"),
    )


def _artifact(table: dict[str, Any]) -> Artifact:
    return Artifact(
        name=table["name"],
        role=table["role"],
        sha256=table.get("sha256", ""),
        size_bytes=table.get("size_bytes", 0),
        when=tuple(table.get("when", ())),
        file=table.get("file", ""),
        locations=tuple(Location(**location) for location in table.get("locations", ())),
        tags=tuple(table.get("tags", ())),
        md5=table.get("md5", ""),
    )


def _recipe(table: dict[str, Any]) -> BuildRecipe:
    return BuildRecipe(
        where=table["where"],
        arches=tuple(table["arches"]),
        pythons=tuple(table["pythons"]),
        glibc=table["glibc"],
        tools=tuple(Tool(**tool) for tool in table["tools"]),
        sdists={version: Sdist(**sdist) for version, sdist in table["sdists"].items()},
        minutes=table.get("minutes", 1),
    )


def _files(folders: Sequence[Path], names: Iterable[str]) -> tuple[BlobRef, ...]:
    found = []
    for name in names:
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None:
            what = f"key program.files: file {name} is not in the component's folder"
            raise _invalid_component_error(folders[0] / COMPONENT_FILE, what)
        # These bytes are sent to devices, so a link must not select another file of this host.
        if not path.resolve().is_relative_to(path.parent.resolve()):
            raise _invalid_component_error(
                path, f"key program.files: {name} is a link to a file outside its folder"
            )
        data = _bytes(path, MAX_PROGRAM_FILE_BYTES)
        found.append(BlobRef(name, sha256_hex(data), len(data)))
    return tuple(found)


def _wheels(folders: Sequence[Path]) -> tuple[WheelSet, ...]:
    files = [folder / WHEELS_FILE for folder in folders if (folder / WHEELS_FILE).exists()]
    return read_wheels(files[0]) if files else ()


def read_wheels(file: Path) -> tuple[WheelSet, ...]:
    """Read a package's wheel lockfile; return an empty tuple if the file does not exist.

    Raises:
        FleetmarkError: INVALID_COMPONENT.
    """
    if not file.exists():
        return ()
    data = _bytes(file, MAX_WHEELS_BYTES)
    try:
        document = parse_json(data)
        files = {
            name: WheelFile(name, w["name"], w["version"], w["sha256"], int(w["size_bytes"]))
            for name, w in document["wheels"].items()
        }
        sets = tuple(
            WheelSet(
                version=entry["version"],
                python=entry["python"],
                arch=entry["arch"],
                wheels=tuple(files[name] for name in entry["wheels"]),
            )
            for entry in document["sets"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _invalid_component_error(
            file, f"is not a valid wheel lockfile: {type(error).__name__} {error}"
        ) from error
    for wheel in files.values():
        texts = (wheel.filename, wheel.name, wheel.version, wheel.sha256)
        if not all(isinstance(text, str) for text in texts):
            raise _invalid_component_error(
                file, f"{wheel.filename}: name, version and sha256 must be strings"
            )
        if not is_sha256(wheel.sha256):
            raise _invalid_component_error(
                file, f"{wheel.filename}: sha256 {wheel.sha256!r} is not a SHA-256 digest"
            )
    return sets
