"""Converts frozen dataclasses to and from plain JSON values, with errors that name the field.

No library does it: see docs/adr/0007-json-to-dataclasses.md. Bytes that are signed or hashed are
always made by `digest.canonical_json`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from enum import Enum
from functools import lru_cache, partial
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from fleetmark_core.document_parser import parse_json
from fleetmark_core.errors import ErrorKind, FleetmarkError

T = TypeVar("T")
_LEAVES = frozenset({str, int, float, bool, type(None)})
_TYPE_NAMES = {str: "a text", bool: "true or false", float: "a number", int: "an integer"}
MAX_DOCUMENT_BYTES = 16 << 20
"""Maximum size of a document; larger ones are refused before they are decoded."""


def to_plain(value: Any) -> Any:
    """Return a dataclass instance as dicts, lists, numbers and strings."""
    # Most values in a device's messages are leaves: handle them without a recursive call.
    kind: Any = type(value)
    if kind in _LEAVES:
        return value
    names = _names(kind)
    if names is not None:
        plain = {}
        for name in names:
            item = getattr(value, name)
            plain[name] = item if type(item) in _LEAVES else to_plain(item)
        return plain
    if isinstance(value, dict):
        return {
            str(key): item if type(item) in _LEAVES else to_plain(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [item if type(item) in _LEAVES else to_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def from_plain(cls: type[T], values: object, where: str = "") -> T:
    """Return an instance of dataclass `cls`; check every field and reject unknown fields.

    Fields may be strings, numbers, booleans, enums, other dataclasses, optional ones of these,
    tuples of one type, tables with text keys, and `Any`. An integer is also a valid float.

    Raises:
        FleetmarkError: BAD_DOCUMENT, in one line that names the field.
    """
    kind: Any = cls
    try:
        made: T = _maker(kind)(values)
    except _Mismatch as fault:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, f"{cls.__name__}: {fault}", where) from None
    return made


class _Mismatch(Exception):
    """A value that does not have the type of its field, and the keys that lead to it."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self._keys: list[str] = []

    def within(self, key: str) -> _Mismatch:
        """Return this fault as one of the value at `key`."""
        self._keys.append(key if key.isidentifier() else _shown(key))
        return self

    def __str__(self) -> str:
        place = ".".join(reversed(self._keys))[:_MAX_PLACE]
        return f"key {place}: {self.args[0]}" if place else str(self.args[0])


_MAX_PLACE, _MAX_SHOWN = 200, 60


def _shown(value: Any) -> str:
    """Return a short text of a value in one line, whatever it contains."""
    if isinstance(value, str):
        return repr(value[:_MAX_SHOWN]) + ("…" if len(value) > _MAX_SHOWN else "")
    if isinstance(value, (dict, list, tuple)):
        return "a table" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    small = isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= 64)
    return str(value) if small else f"a large or unknown value ({type(value).__name__})"


@lru_cache(maxsize=512)
def _names(cls: type[Any]) -> tuple[str, ...] | None:
    """Return the field names of a dataclass, or None for any other type."""
    if not dataclasses.is_dataclass(cls):
        return None
    return tuple(field.name for field in dataclasses.fields(cls))


@lru_cache(maxsize=1024)
def _maker(kind: Any) -> Callable[[Any], Any]:
    """Return a function that converts a plain value to `kind`, or raises `_Mismatch`.

    Raises:
        TypeError: fields cannot have this type.
    """
    if kind is Any:
        return lambda value: value
    if types := _leaf_types(kind):
        return partial(_leaf, types)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        kinds = {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}
        leaves = {name: types for name, of in kinds.items() if (types := _leaf_types(of))}
        makers = {name: _maker(of) for name, of in kinds.items() if name not in leaves}
        return partial(_instance, kind, leaves, makers)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return partial(_member, kind)
    parts = get_args(kind)
    if get_origin(kind) is tuple and len(parts) == 2 and parts[1] is Ellipsis:
        return partial(_tuple, _maker(parts[0]))
    if get_origin(kind) in (Union, UnionType) and len(parts) == 2 and type(None) in parts:
        some = parts[0] if parts[1] is type(None) else parts[1]
        return partial(_maybe, _maker(some))
    if get_origin(kind) is dict and parts[0] is str:
        return partial(_table, _maker(parts[1]))
    raise TypeError(f"{kind} cannot be converted from plain values")


def _leaf_types(kind: Any) -> frozenset[type[Any]]:
    """Return the accepted types of a leaf or optional leaf; an empty set for other fields."""
    parts = frozenset(get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,))
    if not parts <= _LEAVES or len(parts - {type(None)}) != 1:
        return frozenset()
    return parts | {int} if float in parts else parts


def _leaf(types: frozenset[type[Any]], value: Any) -> Any:
    if type(value) not in types:
        raise _type_error(types, value)
    return value


def _type_error(types: frozenset[type[Any]], value: Any) -> _Mismatch:
    name = next(_TYPE_NAMES[kind] for kind in _TYPE_NAMES if kind in types)
    optional = " or null" if type(None) in types else ""
    return _Mismatch(f"{_shown(value)} is not {name}{optional}")


def _instance(
    cls: type[Any],
    leaves: dict[str, frozenset[type[Any]]],
    makers: dict[str, Callable[[Any], Any]],
    values: Any,
) -> Any:
    if type(values) is not dict:
        raise _Mismatch(f"{_shown(values)} is not a table")
    made = {}
    for name, value in values.items():
        types = leaves.get(name)
        if types is not None:
            if type(value) not in types:
                raise _type_error(types, value).within(name)
            made[name] = value
            continue
        make = makers.get(name)
        if make is None:
            raise _Mismatch(f"unknown key {_shown(name)}")
        try:
            made[name] = make(value)
        except _Mismatch as fault:
            raise fault.within(name) from None
    try:
        return cls(**made)
    except TypeError:
        missing = [field.name for field in dataclasses.fields(cls) if _is_missing(field, made)]
        if not missing:
            raise
        raise _Mismatch(f"missing key {', '.join(missing)}") from None


def _is_missing(field: dataclasses.Field[Any], made: dict[str, Any]) -> bool:
    unset = dataclasses.MISSING
    optional = field.default is not unset or field.default_factory is not unset
    return field.init and field.name not in made and not optional


def _member(kind: type[Enum], value: Any) -> Any:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(member.value) for member in kind)
        raise _Mismatch(f"{_shown(value)} is not one of {known}") from None


def _table(make: Callable[[Any], Any], values: Any) -> dict[str, Any]:
    if type(values) is not dict:
        raise _Mismatch(f"{_shown(values)} is not a table")
    made = {}
    for key, value in values.items():
        if type(key) is not str:
            raise _Mismatch(f"key {_shown(key)} is not a text")
        try:
            made[key] = make(value)
        except _Mismatch as fault:
            raise fault.within(key) from None
    return made


def _tuple(make: Callable[[Any], Any], values: Any) -> tuple[Any, ...]:
    if type(values) not in (list, tuple):
        raise _Mismatch(f"{_shown(values)} is not a list")
    return tuple([make(value) for value in values])


def _maybe(make: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else make(value)


def parse_document(cls: type[T], data: bytes, where: str = "") -> T:
    """Parse a JSON document into an instance of dataclass `cls`.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        what = f"{cls.__name__} has {len(data)} bytes, more than {MAX_DOCUMENT_BYTES}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, where)
    try:
        values = parse_json(data)
    except ValueError as error:
        what = f"{cls.__name__} is not JSON: {error}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, where) from error
    return from_plain(cls, values, where)


def parse_trusted(cls: type[T], data: bytes, where: str = "") -> T:
    """Parse a document that a Fleetmark process on this machine wrote.

    Like `parse_document`, but without the limits of `document_parser`: their lists would enlarge
    the memory of an idle agent by some 40 KiB.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        what = f"{cls.__name__} is not JSON: {error}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, where) from error
    return from_plain(cls, values, where)
