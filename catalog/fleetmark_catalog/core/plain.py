"""Frozen dataclasses to and from plain JSON values, with errors that name the field."""

from __future__ import annotations

import dataclasses
import json
from enum import Enum
from typing import Any, TypeVar

import dacite

from fleetmark_catalog.core.errors import CatalogError, Fault

T = TypeVar("T")
_CONFIG = dacite.Config(strict=True, cast=[tuple, Enum])


def to_plain(value: Any) -> Any:
    """Dicts, lists, numbers and strings of a dataclass instance."""
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
    try:
        return dacite.from_dict(cls, values, _CONFIG)
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
