"""Capabilities from messages, and back.

A fleet has few types of boards, and boards of one type say the same of most of their parts: each
such part is read and checked once. That is most of what a thousand boards cost that come at once.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast, get_args, get_type_hints

from fleetmark_catalog.core.capabilities import Capabilities
from fleetmark_catalog.core.plain import from_plain, to_plain
from fleetmark_controller.services import bounds
from fleetmark_protos import plain
from fleetmark_protos.v1 import capabilities_pb2

_WHERE = "capabilities"
_KEPT = 2048
_KEPT_BYTES = 2048
"""No more and no larger parts are kept: a board that invents ever new ones fills no memory."""


class _Field(NamedTuple):
    """One of Capabilities; `kind` is the dataclass of its parts, None if it has leaves."""

    name: Any
    kind: Any
    many: bool
    optional: bool


def capabilities_from(message: capabilities_pb2.Capabilities) -> Capabilities:
    """Checked facts. They share their parts with those of other boards: never change them.

    Raises:
        CatalogError: BAD_DOCUMENT.
        FleetmarkError: BAD_MESSAGE.
    """
    found: dict[str, Any] = {}
    for name, kind, many, optional in _fields():
        value = getattr(message, name)
        if kind is None:
            cleaned = bounds.facts(list(value) if many else value, 1)
            found[name] = tuple(cleaned) if many else cleaned
        elif many:
            bounds.count(len(value), bounds.MAX_ITEMS, name)
            found[name] = tuple([_part(kind, item) for item in value])
        elif message.HasField(name):
            found[name] = _part(kind, value)
        elif optional:
            found[name] = None
        else:
            # The long way has the words for what is missing.
            return from_plain(Capabilities, bounds.facts(plain.to_plain(message)), _WHERE)
    return Capabilities(**found)


def capabilities_to(facts: Capabilities) -> capabilities_pb2.Capabilities:
    """The message of facts."""
    return plain.from_plain(to_plain(facts), capabilities_pb2.Capabilities)


def _part(kind: Any, message: Any) -> Any:
    data, form = message.SerializeToString(), cast("Any", type(message))
    read = _read if len(data) <= _KEPT_BYTES else _read.__wrapped__
    return read(kind, form, data)


@lru_cache(maxsize=_KEPT)
def _read(kind: Any, message_type: Any, data: bytes) -> Any:
    values = bounds.facts(plain.to_plain(message_type.FromString(data)), 1)
    return from_plain(kind, values, _WHERE)


@lru_cache(maxsize=1)
def _fields() -> tuple[_Field, ...]:
    hints = get_type_hints(Capabilities)
    found = []
    for field in fields(Capabilities):
        parts = get_args(hints[field.name])
        kinds = [part for part in (hints[field.name], *parts) if is_dataclass(part)]
        kind = kinds[0] if kinds else None
        found.append(_Field(field.name, kind, Ellipsis in parts, type(None) in parts))
    return tuple(found)
