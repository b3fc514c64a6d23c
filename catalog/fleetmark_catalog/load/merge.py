"""Implements `extends`: a component inherits all that it does not set from another of its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_KEYED = {"requires": "role", "artifacts": "name"}


def merge(parent: Mapping[str, Any], child: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return the child's table merged over the parent's table.

    Tables are merged key by key. Requirements of the same role and artifacts of the same name are
    replaced, others are kept. Tags are united. Any other list or value is the child's.
    """
    merged = dict(parent)
    for key, value in child.items():
        earlier = merged.get(key)
        if isinstance(earlier, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(earlier, value, f"{path}{key}.")
        elif path == "" and key == "tags" and earlier:
            merged[key] = list(dict.fromkeys([*earlier, *value]))
        elif path == "" and key in _KEYED and earlier:
            merged[key] = _replace(key, earlier, value)
        else:
            merged[key] = value
    return merged


def _replace(
    key: str, earlier: Sequence[Mapping[str, Any]], later: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    merged = {name_of(key, entry): entry for entry in earlier}
    merged.update({name_of(key, entry): entry for entry in later})
    return list(merged.values())


def name_of(key: str, entry: Mapping[str, Any]) -> str:
    """Return the key that identifies a requirement (its role) or an artifact (its name)."""
    given = entry.get(_KEYED[key])
    if given:
        return str(given)
    first = entry.get("any_of", [entry])[0]
    return str(first.get("component", first.get("kind", ""))).rpartition("/")[2]
