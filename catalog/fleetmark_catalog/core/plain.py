"""Frozen dataclasses to and from plain JSON values, with errors that name the field."""

from __future__ import annotations

import dataclasses
import json
from enum import Enum
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from fleetmark_catalog.core.errors import CatalogError, Fault

T = TypeVar("T")
_LEAVES = frozenset({str, int, float, bool, type(None)})


def to_plain(value: Any) -> Any:
    """Dicts, lists, numbers and strings of a dataclass instance."""
    if type(value) in _LEAVES:  # first, for most of what a board tells is one
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def from_plain(cls: type[T], values: object, where: str = "") -> T:
    """An instance of dataclass `cls`; every field is checked, unknown ones are refused.

    Raises:
        CatalogError: fault BAD_DOCUMENT, naming the field.
    """
    if not isinstance(values, dict):
        raise CatalogError(Fault.BAD_DOCUMENT, f"{cls.__name__} is no table", where)
    import dacite

    try:
        return dacite.from_dict(cls, values, dacite.Config(strict=True, cast=[tuple, Enum]))
    except (dacite.DaciteError, ValueError, TypeError) as error:
        raise CatalogError(Fault.BAD_DOCUMENT, f"{cls.__name__}: {error}", where) from error


def parse_document(cls: type[T], data: bytes, where: str = "") -> T:
    """An instance of dataclass `cls` from the bytes of a JSON document.

    Raises:
        CatalogError: fault BAD_DOCUMENT.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        what = f"{cls.__name__} is no JSON: {error}"
        raise CatalogError(Fault.BAD_DOCUMENT, what, where) from error
    return from_plain(cls, values, where)


def parse_own(cls: type[T], data: bytes, where: str = "") -> T:
    """Like `parse_document`, for what a process of ours wrote with `to_plain`.

    Fields are taken by name; the types of plain values are not looked at. It loads nothing: the
    library that checks them would stay in the memory of an agent that reads two documents a day.

    Raises:
        CatalogError: fault BAD_DOCUMENT.
    """
    try:
        made: T = _made(cls, json.loads(data))
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError) as error:
        raise CatalogError(Fault.BAD_DOCUMENT, f"{cls.__name__}: {error}", where) from error
    return made


def _made(kind: Any, value: Any) -> Any:
    """`value` as `kind`: a dataclass, a tuple of one kind, an enumeration, one of these or None."""
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
