"""Conversion of capabilities from and to messages. Parts that devices share are parsed once."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, NamedTuple, get_args, get_type_hints

from google.protobuf.message_factory import GetMessageClass

from fleetmark_controller.api import validation
from fleetmark_controller.store.devices.capability_cache import CAPABILITIES
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.serde import from_plain, to_plain
from fleetmark_protos import plain
from fleetmark_protos.v1 import capabilities_pb2

_WHERE = "capabilities"


class _Field(NamedTuple):
    """A field of Capabilities. `read` parses a part from its bytes; None for plain values."""

    name: Any
    read: Any
    many: bool
    optional: bool


def capabilities_from(message: capabilities_pb2.Capabilities) -> Capabilities:
    """Return checked capabilities. Their parts are shared with other devices: never change them.

    Raises:
        FleetmarkError: BAD_DOCUMENT or BAD_MESSAGE.
    """
    found: dict[str, Any] = {}
    for name, read, many, optional in _fields():
        value = getattr(message, name)
        if read is None:
            cleaned = validation.facts(list(value) if many else value, 1)
            found[name] = tuple(cleaned) if many else cleaned
        elif many:
            validation.count(len(value), validation.MAX_ITEMS, name)
            found[name] = tuple([_part(read, item) for item in value])
        elif message.HasField(name):
            found[name] = _part(read, value)
        elif optional:
            found[name] = None
        else:
            # The slow path raises an error that names what is missing.
            return from_plain(Capabilities, validation.facts(plain.to_plain(message)), _WHERE)
    return Capabilities(**found)


def capabilities_to(facts: Capabilities) -> capabilities_pb2.Capabilities:
    """Return the message for capabilities."""
    return plain.from_plain(to_plain(facts), capabilities_pb2.Capabilities)


def _part(read: Any, message: Any) -> Any:
    return read(message.SerializeToString())


def _reader(kind: Any, message_type: Any) -> Any:
    """Return a function that parses parts of one kind from their bytes."""

    def read(data: bytes) -> Any:
        values = validation.facts(plain.to_plain(message_type.FromString(data)), 1)
        return from_plain(kind, values, _WHERE)

    return CAPABILITIES.share_parts(read)


@lru_cache(maxsize=1)
def _fields() -> tuple[_Field, ...]:
    hints = get_type_hints(Capabilities)
    described = capabilities_pb2.Capabilities.DESCRIPTOR.fields_by_name
    found = []
    for field in fields(Capabilities):
        parts = get_args(hints[field.name])
        kinds = [part for part in (hints[field.name], *parts) if is_dataclass(part)]
        part = described[field.name].message_type
        read = _reader(kinds[0], GetMessageClass(part)) if kinds and part else None
        found.append(_Field(field.name, read, Ellipsis in parts, type(None) in parts))
    return tuple(found)
