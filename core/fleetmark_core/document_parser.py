"""Parsers for untrusted JSON and TOML: any bytes give either a value or one ValueError.

Python's own parsers leave these problems open:

- An integer of thousands of digits raises an error that advises raising the interpreter's limit. A
  hexadecimal one is accepted, and fails where it is printed.
- Deep nesting raises RecursionError, in the parser or in code that walks the value later.
- JSON accepts NaN, infinities and lone surrogates, which canonical documents, databases and
  terminals cannot represent.
- A TOML key of many dotted parts takes time and memory that grow with the square of their number.

The caller must limit the size of the bytes: see `regular_file.read_regular`.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import Any

MAX_DEPTH = 64
"""Maximum nesting depth of tables and lists."""
_SMALLEST = -(1 << 63)
_LARGEST_IN_JSON, _LARGEST_IN_TOML = (1 << 64) - 1, (1 << 63) - 1
"""JSON holds LoadGen's seeds, which are unsigned 64-bit integers; TOML's integers are signed."""
_MAX_DIGITS = 20
_MAX_VALUES = 2_000_000
_SMALL_BYTES = 4 << 20
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_MAX_DOTS = 250
_MAX_DOTS_OF_HEADER = 64
_LONG_INTEGER = re.compile(rb"[0-9_]{1000,}")
_TOO_LARGE = "an integer does not fit into 64 bits; use at most 19 digits"
_PLACE = 200


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON document in UTF-8.

    Args:
        data: the document.

    Raises:
        ValueError: it is not JSON, is nested deeper than `MAX_DEPTH`, or contains more than two
            million values, an integer of more than 64 bits, NaN, an infinity or text that is not
            Unicode. The message says which, and where.
    """
    # A value of two bytes takes thirty times as much memory when parsed.
    if len(data) > _SMALL_BYTES:
        structure = _STRING.sub(b"", data)
        if sum(structure.count(mark) for mark in (b",", b"[", b"{")) > _MAX_VALUES:
            raise ValueError(f"it contains more than {_MAX_VALUES:,} values")
    try:
        text = data.decode("utf-8-sig")
        value = json.loads(text, parse_int=_integer, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise _depth_error() from error
    _check(value, _LARGEST_IN_JSON)
    return value


def parse_toml(data: bytes, *, with_dates: bool = False) -> dict[str, Any]:
    """Return the table of a TOML document.

    Args:
        data: the document.
        with_dates: accept dates and times, which JSON does not have.

    Raises:
        ValueError: it is not TOML, is nested deeper than `MAX_DEPTH`, or contains an integer of
            more than 64 bits, NaN, an infinity, a date or a key of hundreds of parts. The message
            says which, and where.
    """
    # Imported here: an idle agent reads only JSON.
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    for number, line in enumerate(data.split(b"\n"), 1):
        most = _MAX_DOTS_OF_HEADER if line.lstrip().startswith(b"[") else _MAX_DOTS
        if line.count(b".") > most:
            raise ValueError(f"line {number} has more than {most} dots; split the line")
    try:
        table: dict[str, Any] = tomllib.loads(data.decode())
    except RecursionError as error:
        raise _depth_error() from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise
    except ValueError as error:
        # Python's limit on the digits of an integer; its message does not name the line.
        found = _LONG_INTEGER.search(data)
        line_number = data.count(b"\n", 0, found.start()) + 1 if found else 0
        place = f"line {line_number}: " if found else ""
        raise ValueError(f"{place}{_TOO_LARGE}") from error
    _check(table, _LARGEST_IN_TOML, with_dates)
    return table


def _integer(digits: str) -> int:
    # Return an integer that `_check` rejects: `_check` can name the key.
    return int(digits) if len(digits) <= _MAX_DIGITS else _LARGEST_IN_JSON + 1


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _depth_error() -> ValueError:
    return ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _check(document: Any, largest: int, with_dates: bool = False) -> None:
    """Reject values that parsers accept but later code cannot represent. Does not recurse."""
    level: list[tuple[str, Any]] = [("", document)]
    for _ in range(MAX_DEPTH + 1):
        below: list[tuple[str, Any]] = []
        for place, value in level:
            if isinstance(value, dict):
                for key, item in value.items():
                    _check_leaf(key, place, largest)
                    below.append((key if not place else f"{place}.{key}"[:_PLACE], item))
            elif isinstance(value, list):
                below.extend((place, item) for item in value)
            elif isinstance(value, (str, int, float)) or value is None:
                _check_leaf(value, place, largest)
            elif not with_dates:
                raise ValueError(f"{_named(place)}a date or time is not allowed; use a text")
        if not below:
            return
        level = below
    raise _depth_error()


def _check_leaf(value: Any, place: str, largest: int) -> None:
    if isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"{_named(place)}a text is not valid Unicode") from error
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{_named(place)}{value} is not a finite number")
    elif isinstance(value, int) and not _SMALLEST <= value <= largest:
        raise ValueError(f"{_named(place)}{_TOO_LARGE}")


def _named(place: str) -> str:
    shown = place[:_PLACE]
    if not shown.isprintable():
        # A message must stay one line, and must not control a terminal.
        shown = ascii(shown)
    return f"key {shown}: " if place else ""
