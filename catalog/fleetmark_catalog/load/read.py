"""Reads `component.toml`: from bytes to a validated `Component`, with errors that name the key."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from fleetmark_catalog.core.digest import is_sha256, sha256_file, sha256_hex
from fleetmark_catalog.core.errors import CatalogError, Fault
from fleetmark_catalog.core.lock import BlobRef
from fleetmark_catalog.load.model import (
    KINDS,
    Artifact,
    Choice,
    Component,
    Location,
    Requirement,
    Variation,
    WheelFile,
    WheelSet,
)
from fleetmark_catalog.load.schema import schema
from fleetmark_catalog.load.words import hint, nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COMPONENT_FILE = "component.toml"
WHEELS_FILE = "wheels.json"
MAX_COMPONENT_BYTES = 1 << 20


def read_component(folder: Path) -> Component:
    """The component that lies in `folder`.

    Raises:
        CatalogError: fault INVALID_COMPONENT; names file, key, what was found, what is allowed.
    """
    file = folder / COMPONENT_FILE
    data = _bytes(file)
    try:
        document = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise _invalid(file, f"is no TOML: {error}") from error
    kind = document.get("kind")
    if kind not in KINDS:
        near = f"; did you mean {nearest(kind, KINDS)!r}?" if isinstance(kind, str) else ""
        raise _invalid(file, f"key kind: found {kind!r}, allowed {', '.join(KINDS)}{near}")
    check(document, kind, file)
    component = _component(document, folder, sha256_hex(data))
    _check_sense(component, file)
    return component


def check(document: dict[str, Any], kind: str, file: Path) -> None:
    """Validate against the kind's schema.

    Raises:
        CatalogError: fault INVALID_COMPONENT.
    """
    errors = list(_validator(kind).iter_errors(document))
    # A mistyped key is both unknown and missing; the unknown one tells more.
    unknown = [error for error in errors if error.validator == "additionalProperties"]
    error = best_match(unknown or errors)
    if error is not None:
        raise _invalid(file, explain(error))


def explain(error: ValidationError) -> str:
    """One schema violation for a person: key, found, allowed."""
    path = [str(part) for part in error.absolute_path]
    key = ".".join(path)
    rule, limit, instance = str(error.validator), error.validator_value, error.instance
    if rule == "additionalProperties" and isinstance(error.schema, dict):
        known = list(error.schema.get("properties", {}))
        unknown = next(name for name in _names(instance) if name not in known)
        return f"key {'.'.join([*path, unknown])}: unknown key. {hint(unknown, known)}"
    if rule == "required":
        missing = next(name for name in _names(limit) if name not in _names(instance))
        return f"key {'.'.join([*path, missing])}: found nothing, but it must be there"
    found = json.dumps(instance, default=str)[:120]
    where = f"{key} (a name in it)" if "propertyNames" in error.absolute_schema_path else key
    return (
        f"key {where or 'top level'}: found {found}, allowed {_allowed(rule, limit, error.message)}"
    )


_ALLOWED = {
    "type": "a value of type {}",
    "const": "{}",
    "pattern": "text like {}",
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} entries",
    "minProperties": "at least {} entries",
    "uniqueItems": "entries that differ",
}


def _allowed(rule: str, limit: Any, message: str) -> str:
    if rule == "enum":
        return ", ".join(map(str, limit))
    if rule in ("oneOf", "anyOf"):
        ways = [" and ".join(way.get("required", ())) for way in limit]
        few = "exactly one of" if rule == "oneOf" else "at least one of"
        return f"{few}: {' | '.join(ways)}"
    return _ALLOWED[rule].format(limit) if rule in _ALLOWED else message


def _names(value: Any) -> list[str]:
    return [str(name) for name in value]


@lru_cache(maxsize=len(KINDS))
def _validator(kind: str) -> Any:
    return Draft202012Validator(schema(kind))


def _invalid(file: Path, what: str) -> CatalogError:
    return CatalogError(Fault.INVALID_COMPONENT, what, str(file))


def _bytes(file: Path) -> bytes:
    try:
        if file.stat().st_size > MAX_COMPONENT_BYTES:
            raise _invalid(file, f"is larger than {MAX_COMPONENT_BYTES} bytes")
        return file.read_bytes()
    except OSError as error:
        raise _invalid(file, f"cannot be read: {error.strerror}") from error


def _component(document: dict[str, Any], folder: Path, sha256: str) -> Component:
    kind = document["kind"]
    body = document.get(kind, {})
    return Component(
        kind=kind,
        name=document["name"],
        version=document["version"],
        title=document["title"],
        license=document["license"],
        source=document.get("source", ""),
        folder=folder,
        sha256=sha256,
        tags=tuple(document.get("tags", ())),
        device=document.get("device", ""),
        requires=_requirements(document.get("requires", ())),
        variations={
            name: _variation(name, table) for name, table in document.get("variations", {}).items()
        },
        artifacts=tuple(_artifact(table) for table in document.get("artifacts", ())),
        body=body,
        files=_files(folder, body.get("files", ())) if kind == "program" else (),
        wheels=read_wheels(folder / WHEELS_FILE) if kind == "package" else (),
    )


def _requirements(tables: Iterable[dict[str, Any]]) -> tuple[Requirement, ...]:
    found = []
    for table in tables:
        choices = tuple(_choice(choice) for choice in table.get("any_of", [table]))
        role = table.get("role") or choices[0].name
        found.append(Requirement(role, choices, table.get("when", "")))
    return tuple(found)


def _choice(table: dict[str, Any]) -> Choice:
    kind, _, name = table["component"].partition("/")
    return Choice(kind, name, table.get("version", ""))


def _variation(name: str, table: dict[str, Any]) -> Variation:
    return Variation(
        name=name,
        group=table.get("group", ""),
        default=table.get("default", False),
        title=table.get("title", ""),
        tags=tuple(table.get("tags", ())),
        requires=_requirements(table.get("requires", ())),
        set=table.get("set", {}),
    )


def _artifact(table: dict[str, Any]) -> Artifact:
    return Artifact(
        name=table["name"],
        role=table["role"],
        sha256=table["sha256"],
        size_bytes=table["size_bytes"],
        when=tuple(table.get("when", ())),
        file=table.get("file", ""),
        locations=tuple(Location(**location) for location in table.get("locations", ())),
    )


def _files(folder: Path, names: Iterable[str]) -> tuple[BlobRef, ...]:
    found = []
    for name in names:
        path = folder / name
        if not path.is_file():
            raise _invalid(folder / COMPONENT_FILE, f"key program.files: no file {name} beside it")
        found.append(BlobRef(name, sha256_file(path), path.stat().st_size))
    return tuple(found)


def read_wheels(file: Path) -> tuple[WheelSet, ...]:
    """A package's wheel lock; empty where there is none yet.

    Raises:
        CatalogError: fault INVALID_COMPONENT.
    """
    if not file.is_file():
        return ()
    try:
        document = json.loads(file.read_bytes())
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
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _invalid(file, f"is no wheel lock: {type(error).__name__} {error}") from error
    for wheel in files.values():
        if not is_sha256(wheel.sha256):
            raise _invalid(file, f"{wheel.filename}: bad sha256 {wheel.sha256!r}")
    return sets


def _check_sense(component: Component, file: Path) -> None:
    """What a schema cannot say: defaults, words and versions agree with each other."""
    for group, names in component.groups().items():
        defaults = [name for name in names if component.variations[name].default]
        if len(defaults) > 1:
            raise _invalid(
                file,
                f"variations: group {group} has {len(defaults)} defaults: {', '.join(defaults)}",
            )
    for artifact in component.artifacts:
        for word in artifact.when:
            if word not in component.variations:
                near = hint(word, component.variations)
                raise _invalid(
                    file,
                    f"artifact {artifact.name}: when names the unknown variation {word!r}. {near}",
                )
    for name, parameter in component.body.get("parameters", {}).items():
        low, high = parameter.get("min"), parameter.get("max")
        if low is not None and high is not None and low > high:
            raise _invalid(file, f"key program.parameters.{name}: min {low} is above max {high}")
