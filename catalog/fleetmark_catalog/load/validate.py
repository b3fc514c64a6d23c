"""Consistency checks that a schema cannot express, within a component and between components."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from fleetmark_catalog.load.model import Choice, Component, Requirement
from fleetmark_core.suggest import hint
from fleetmark_core.versions import is_range, is_version

_CONFIRMED_KINDS = ("model", "dataset")
Find = Callable[[str, str], "Component | None"]


def problems(component: Component) -> Iterator[str]:
    """Yield the errors within one component; each names key, value and allowed values."""
    yield from _versions(component)
    yield from _variations(component)
    yield from _md5_files(component)
    for artifact in component.artifacts:
        for word in artifact.when:
            if not component.knows(word):
                near = hint(word, component.variations)
                yield (
                    f"key artifacts: artifact {artifact.name}: key when names the unknown "
                    "variation "
                    f"{word!r}. {near}"
                )
        names = [other.name for other in component.artifacts if other.name == artifact.name]
        if len(names) > 1:
            yield f"key artifacts: {len(names)} artifacts have the name {artifact.name!r}"
    for name, parameter in component.body.get("parameters", {}).items():
        low, high = parameter.get("min"), parameter.get("max")
        if low is not None and high is not None and low > high:
            yield f"key program.parameters.{name}: min {low} is above max {high}"
    if component.kind == "soft":
        yield from _rule(component)
    if component.recipe is not None:
        for version in component.recipe.sdists:
            if version not in component.versions():
                yield (
                    f"key package.build.sdists: found version {version!r}, allowed "
                    f"{', '.join(component.versions())}"
                )
    if component.kind == "package":
        yield from _archives(component)
        for version in component.body.get("onnx", {}):
            if version not in component.versions():
                yield (
                    f"key package.onnx: found version {version!r}, allowed "
                    f"{', '.join(component.versions())}"
                )


def _md5_files(component: Component) -> Iterator[str]:
    """Yield errors about files of which only an MD5 is known. They are content, never code."""
    for artifact in component.artifacts:
        if not artifact.md5:
            continue
        key = f"key artifacts: artifact {artifact.name}"
        if component.kind not in _CONFIRMED_KINDS:
            yield (
                f"{key}: found md5, allowed sha256 and size_bytes; md5 is for components of kind "
                f"{' or '.join(_CONFIRMED_KINDS)}"
            )
        if artifact.sha256 or artifact.size_bytes:
            yield f"{key}: found md5 and sha256 or size_bytes, allowed one of the two"
        if artifact.file:
            yield f"{key}: found md5 and file; a file of the component's folder has a sha256"
        if any(location.recipe for location in artifact.locations):
            yield f"{key}: found md5 and a recipe; what a recipe makes has a sha256"


def _archives(component: Component) -> Iterator[str]:
    """Yield errors about archives and Pythons of a package, which must be its own artifacts."""
    body = component.body
    held = sorted({artifact.name for artifact in component.artifacts})
    for key in ("interpreters", "archives"):
        for entry in body.get(key, ()):
            if entry["artifact"] not in held:
                yield (
                    f"key package.{key}: found artifact {entry['artifact']!r}, allowed "
                    f"{', '.join(held) or 'no name: the component has no artifacts'}"
                )
    if "archives" not in body:
        return
    have = [entry.get("version", component.version) for entry in body["archives"]]
    for version in have:
        if version not in component.versions():
            yield (
                f"key package.archives: found version {version!r}, allowed "
                f"{', '.join(component.versions())}"
            )
    for version in component.versions():
        if version not in have:
            yield f"key package.archives: no archive for version {version}; add one"
    others: list[str] = [key for key in ("interpreters", "build") if key in body]
    others += ["wheels.json"] if component.wheels else []
    if others:
        yield (
            f"key package.archives: cannot be combined with {others[0]}; define a second package "
            "for the wheels"
        )


def _versions(component: Component) -> Iterator[str]:
    for version in component.versions():
        if not is_version(version, component.scheme):
            yield (
                f"key version: found {version!r}, allowed a version of scheme {component.scheme}"
                ' (version_scheme = "general" accepts other versions than Python\'s)'
            )


def _variations(component: Component) -> Iterator[str]:
    for group, names in component.groups().items():
        defaults = [name for name in names if component.variations[name].default]
        if len(defaults) > 1:
            yield (f"variations: group {group} has {len(defaults)} defaults: {', '.join(defaults)}")
    for variation in component.variations.values():
        key = f"key variations.{variation.name}"
        if variation.open != (variation.value is not None):
            yield (
                f"{key}: a name with .# requires a value, and a value requires a name with .#; "
                f"found {'only the name' if variation.open else 'only the value'}"
            )
        if variation.open and variation.default:
            yield f"{key}.default: found true, but {variation.name} has no single value"
        for other in variation.excludes:
            if other == variation.name:
                yield f"{key}.excludes: found {other!r}, which is the variation itself"


def _rule(component: Component) -> Iterator[str]:
    body = component.body
    tables = [("soft", body), ("soft.prove", body.get("prove", {}))]
    for number, entry in enumerate(body["detect"]):
        tables.append((f"soft.detect.{number}", entry))
        tables.append((f"soft.detect.{number}.prove", entry.get("prove", {})))
    for path, table in tables:
        for key, groups in (("version_pattern", 1), ("match", 0)):
            if key not in table:
                continue
            try:
                found = re.compile(table[key]).groups
            except re.error as error:
                yield (
                    f"key {path}.{key}: found {table[key]!r}, which is not a regular expression: "
                    f"{error}"
                )
                continue
            if found < groups:
                yield (
                    f"key {path}.{key}: found {table[key]!r}, allowed a regular expression with a "
                    "group"
                )
    if not is_range(body.get("versions", "")):
        yield f"key soft.versions: found {body['versions']!r}, allowed a range like >=1.2,<2"


def missing_references(component: Component, find: Find, tags: Iterable[str]) -> Iterator[str]:
    """Yield the references of `component` that are not in the catalog.

    Args:
        component: the component.
        find: looks up a component of the catalog by kind and name.
        tags: all tags of the catalog.
    """
    known = set(tags)
    for requirement in _requirements(component):
        for choice in requirement.choices:
            yield from _choice(choice, find, known)
    for artifact in component.artifacts:
        yield from _tags(artifact.tags, known, f"artifact {artifact.name}")
    for member in component.body.get("members", ()):
        if component.kind == "suite" and find("benchmark", member["benchmark"]) is None:
            yield f"key suite.members: the catalog has no benchmark {member['benchmark']!r}"


def _requirements(component: Component) -> Iterator[Requirement]:
    yield from component.requires
    for variation in component.variations.values():
        yield from variation.requires


def _choice(choice: Choice, find: Find, tags: set[str]) -> Iterator[str]:
    if not choice.name:
        yield from _tags(choice.tags, tags, f"a required {choice.kind}")
        return
    target = find(choice.kind, choice.name)
    if target is None:
        yield f"key requires: the catalog has no component {choice.kind}/{choice.name}"
    elif not is_range(choice.version, target.scheme):
        yield (
            f"key requires: version of {target.id}: found {choice.version!r}, allowed a range of "
            f"scheme {target.scheme} like >=1.2,<2"
        )


def _tags(wanted: Iterable[str], known: set[str], who: str) -> Iterator[str]:
    for tag in wanted:
        if tag not in known:
            yield f"key tags: {who} has the unknown tag {tag!r}. {hint(tag, known)}"
