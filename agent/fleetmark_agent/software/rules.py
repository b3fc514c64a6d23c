"""Detection rules: the catalog's `soft` components, read without the catalog's loader.

The controller validates components before their release. Here, an invalid file is rejected with its
reason, and the other rules are used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from fleetmark_core.document_parser import parse_toml
from fleetmark_core.regular_file import read_regular

TYPES = ("command", "file", "python_module", "library", "device_tree", "sysfs")
_TIME_LIMIT_S = 5.0
_MAX_LIMIT_S = 60.0
_MAX_RULE_BYTES = 256 * 1024


class BadRule(Exception):
    """Raised when a rule cannot be used; the message names the key and the reason."""


@dataclass(frozen=True)
class Proof:
    """Verification that found software works: a command, or a Python program."""

    time_limit_s: float
    command: tuple[str, ...] = ()
    python: str = ""
    version: re.Pattern[str] | None = None


@dataclass(frozen=True)
class RuleEntry:
    """One way to find the software of a rule. Only the keys of its type are set."""

    type: str
    time_limit_s: float
    command: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    read: str = "path"
    module: str = ""
    distribution: str = ""
    libraries: tuple[str, ...] = ()
    node: str = ""
    match: re.Pattern[str] | None = None
    version: re.Pattern[str] | None = None
    proof: Proof | None = None


@dataclass(frozen=True)
class DetectionRule:
    """One `soft` component."""

    name: str
    software: str
    entries: tuple[RuleEntry, ...]
    versions: SpecifierSet
    several: bool = False
    os: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


def load_rules(folder: Path) -> tuple[list[DetectionRule], dict[str, str]]:
    """Read all rules below `folder`, which need not exist.

    Returns:
        The valid rules, and the reason for each invalid one by the name of its folder.
    """
    rules: list[DetectionRule] = []
    bad: dict[str, str] = {}
    for path in sorted(folder.glob("*/component.toml")):
        name = path.parent.name
        try:
            rules.append(parse_rule(parse_toml(read_regular(path, _MAX_RULE_BYTES))))
        except OSError as error:
            bad[name] = f"its component.toml is not valid: {error.strerror or error}"
        except (ValueError, BadRule) as error:
            bad[name] = f"its component.toml is not valid: {error}"
    return rules, bad


def parse_rule(document: Mapping[str, Any]) -> DetectionRule:
    """Parse a `component.toml` of kind `soft`.

    Raises:
        BadRule: the document is not a valid rule.
    """
    name, body = document.get("name"), document.get("soft")
    if document.get("kind") != "soft" or not isinstance(name, str) or not isinstance(body, dict):
        raise BadRule("it is not a component of kind soft")
    limit = _limit(body, _TIME_LIMIT_S)
    version = _regex(body, "version_pattern")
    proof = _proof(body.get("prove"), limit)
    entries = body.get("detect")
    if not isinstance(entries, list) or not entries:
        raise BadRule("soft.detect: expected a list of tables")
    try:
        versions = SpecifierSet(str(body.get("versions", "")), prereleases=True)
    except InvalidSpecifier as error:
        raise BadRule(f"soft.versions: {error}") from error
    return DetectionRule(
        name=name,
        software=str(body.get("software", name)),
        entries=tuple(_entry(entry, limit, version, proof) for entry in entries),
        versions=versions,
        several=bool(body.get("several", False)),
        os=_texts(body, "os"),
        tags=_texts(body, "tags"),
    )


def _entry(
    values: Any, limit_s: float, version: re.Pattern[str] | None, proof: Proof | None
) -> RuleEntry:
    if not isinstance(values, dict) or values.get("type") not in TYPES:
        raise BadRule(f"soft.detect: expected a table whose type is one of {', '.join(TYPES)}")
    own_limit = _limit(values, limit_s)
    entry = RuleEntry(
        type=values["type"],
        time_limit_s=own_limit,
        command=_texts(values, "command"),
        paths=_texts(values, "paths"),
        read=str(values.get("read", "path")),
        module=str(values.get("module", "")),
        distribution=str(values.get("distribution", "")),
        libraries=_texts(values, "libraries"),
        node=str(values.get("path", "")),
        match=_regex(values, "match"),
        version=_regex(values, "version_pattern") or version,
        proof=_proof(values.get("prove"), own_limit) or proof,
    )
    needed = {
        "command": entry.command,
        "file": entry.paths,
        "sysfs": entry.paths,
        "python_module": entry.module,
        "library": entry.libraries,
        "device_tree": entry.node,
    }[entry.type]
    if not needed:
        raise BadRule(f"soft.detect: an entry of type {entry.type} does not name what to detect")
    if not all(path.startswith("/") and ".." not in path for path in entry.paths):
        raise BadRule("soft.detect.paths: expected absolute paths")
    return entry


def _proof(values: Any, limit_s: float) -> Proof | None:
    if values is None:
        return None
    if not isinstance(values, dict) or ("command" in values) == ("python" in values):
        raise BadRule("soft.prove: expected a table with either command or python")
    return Proof(
        time_limit_s=_limit(values, limit_s),
        command=_texts(values, "command"),
        python=str(values.get("python", "")),
        version=_regex(values, "version_pattern"),
    )


def _texts(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    found = values.get(key, [])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise BadRule(f"soft: {key}: expected a list of strings")
    return tuple(found)


def _limit(values: Mapping[str, Any], default_s: float) -> float:
    found = values.get("time_limit_s", default_s)
    if not isinstance(found, (int, float)) or not 0 < found <= _MAX_LIMIT_S:
        raise BadRule(f"soft: time_limit_s: expected seconds above 0, at most {_MAX_LIMIT_S:g}")
    return float(found)


def _regex(values: Mapping[str, Any], key: str) -> re.Pattern[str] | None:
    found = values.get(key)
    if found is None:
        return None
    try:
        return re.compile(str(found), re.MULTILINE)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadRule(f"soft: {key}: {error}") from error


def by_family(rules: Iterable[DetectionRule], family: str) -> list[DetectionRule]:
    """Return the rules that apply to this operating system family."""
    return [rule for rule in rules if not rule.os or family in rule.os]
