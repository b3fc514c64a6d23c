"""Converts frozen dataclasses to and from plain JSON values, with errors that name the field."""

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

    Raises:
        FleetmarkError: BAD_DOCUMENT, naming the field.
    """
    if not isinstance(values, dict):
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, f"{cls.__name__} is not a JSON object", where)
    kind: Any = cls
    try:
        made: T = _maker(kind)(values)
    except (TypeError, ValueError, LookupError, AttributeError):
        # The fast path failed: dacite either accepts the value or reports the field and the fault.
        return _by_library(cls, values, where)
    return made


def _by_library(cls: type[T], values: dict[Any, Any], where: str) -> T:
    import dacite

    try:
        config = dacite.Config(
            strict=True, cast=[tuple, Enum], type_hooks={int: _number, float: _number}
        )
        return dacite.from_dict(cls, values, config)
    except (dacite.DaciteError, ValueError, TypeError) as error:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, f"{cls.__name__}: {error}", where) from error


def _number(value: Any) -> Any:
    """Reject booleans, which Python and dacite accept as the numbers 1 and 0."""
    if isinstance(value, bool):
        from dacite import WrongTypeError

        raise WrongTypeError(field_type=int, value=value)
    return value


@lru_cache(maxsize=512)
def _names(cls: type[Any]) -> tuple[str, ...] | None:
    """Return the field names of a dataclass, or None for any other type."""
    if not dataclasses.is_dataclass(cls):
        return None
    return tuple(field.name for field in dataclasses.fields(cls))


@lru_cache(maxsize=1024)
def _maker(kind: Any) -> Callable[[Any], Any]:
    """Return a function that converts plain values to `kind` as dacite would, but much faster.

    The function accepts only values that need no conversion rules and raises for all others. For an
    unknown kind it always raises.
    """
    if kind in _LEAVES:
        return partial(_leaf, kind)
    if kind is Any:
        return lambda value: value
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        kinds = {f.name: hints[f.name] for f in dataclasses.fields(kind) if f.init}
        leaves = {name: of for name, of in ((n, _leaves(k)) for n, k in kinds.items()) if of}
        makers = {name: _maker(of) for name, of in kinds.items() if name not in leaves}
        return partial(_instance, kind, leaves, makers)
    parts = get_args(kind)
    if get_origin(kind) is tuple and len(parts) == 2 and parts[1] is Ellipsis:
        return partial(_tuple, _maker(parts[0]))
    if len(parts) == 2 and type(None) in parts and get_origin(kind) not in (tuple, list, dict):
        some = parts[0] if parts[1] is type(None) else parts[1]
        return partial(_maybe, _maker(some))
    if get_origin(kind) is dict and parts[0] is str:
        return partial(_table, _maker(parts[1]))
    return _unknown


def _unknown(value: Any) -> Any:
    raise TypeError(value)


def _table(make: Callable[[Any], Any], values: Any) -> dict[str, Any]:
    if type(values) is not dict or not all(type(key) is str for key in values):
        raise TypeError(values)
    return {key: make(value) for key, value in values.items()}


def _leaf(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(value)
    return value


def _leaves(kind: Any) -> frozenset[type[Any]]:
    """Return the accepted types of a leaf or optional leaf; an empty set for other fields."""
    if kind in _LEAVES:
        return frozenset({kind})
    parts = frozenset(get_args(kind))
    of_leaves = get_origin(kind) in (Union, UnionType) and parts <= _LEAVES
    return parts if of_leaves and len(parts) == 2 and type(None) in parts else frozenset()


def _instance(
    cls: type[Any],
    leaves: dict[str, frozenset[type[Any]]],
    makers: dict[str, Callable[[Any], Any]],
    values: Any,
) -> Any:
    if type(values) is not dict:
        raise TypeError(values)
    made = {}
    for name, value in values.items():
        kinds = leaves.get(name)
        if kinds is None:
            made[name] = makers[name](value)
        elif type(value) in kinds:
            made[name] = value
        else:
            raise TypeError(value)
    return cls(**made)


def _tuple(make: Callable[[Any], Any], values: Any) -> tuple[Any, ...]:
    if type(values) not in (list, tuple):
        raise TypeError(values)
    return tuple([make(value) for value in values])


def _maybe(make: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else make(value)


def parse_document(cls: type[T], data: bytes, where: str = "") -> T:
    """Parse a JSON document into an instance of dataclass `cls`.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    try:
        values = parse_json(data)
    except ValueError as error:
        what = f"{cls.__name__} is not JSON: {error}"
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, what, where) from error
    return from_plain(cls, values, where)


def parse_trusted(cls: type[T], data: bytes, where: str = "") -> T:
    """Parse a document that a Fleetmark process wrote with `to_plain`.

    Like `parse_document`, but fields are taken by name and the types of plain values are not
    checked. It imports nothing: dacite would stay in the memory of an agent that reads two
    documents a day.

    Raises:
        FleetmarkError: BAD_DOCUMENT.
    """
    try:
        made: T = _made(cls, json.loads(data))
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError) as error:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, f"{cls.__name__}: {error}", where) from error
    return made


def _made(kind: Any, value: Any) -> Any:
    """Convert `value` to `kind`: a dataclass, a tuple of one type, an enum, or an optional one."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        kinds = get_type_hints(kind)
        return kind(**{name: _made(kinds[name], item) for name, item in value.items()})
    if get_origin(kind) is tuple:
        return tuple(_made(get_args(kind)[0], item) for item in value)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if value is not None and type(None) in get_args(kind):
        return _made(next(part for part in get_args(kind) if part is not type(None)), value)
    return value
