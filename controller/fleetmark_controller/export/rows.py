"""Rows for an export: a source of rows, and the conversion of their values to column types."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetmark_controller.export.columns import Column, column
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger

log = get_logger(__name__)
Value = int | float | str | bool | None

_MAX_INTEGER = (1 << 63) - 1


@dataclass
class RowSource:
    """Column names, and rows that are read once, one by one, so that exports of any size stream."""

    columns: Sequence[str]
    rows: Iterable[Sequence[Any]]
    misfits: dict[str, int] = field(default_factory=dict)
    """Number of values per column that did not fit its type and were read as null."""

    def described(self, view: str) -> list[Column]:
        """Return the description of each column."""
        return [column(view, name) for name in self.columns]

    def clean(self, view: str) -> Iterator[tuple[Value, ...]]:
        """Yield rows with values of their columns' types, the same for every format.

        SQLite's 0 and 1 become booleans, an integer in a column of reals becomes a real, a
        non-finite number becomes null, and lone surrogates, which UTF-8 does not have, become
        question marks. A value that does not fit its column becomes null and is counted in
        `misfits`: one bad value must not block the export of a whole fleet.

        Raises:
            FleetmarkError: BAD_MESSAGE: a row has more or fewer values than there are columns.
        """
        described = self.described(view)
        converters = [_CONVERTERS[found.type] for found in described]
        for number, row in enumerate(self.rows, 1):
            if len(row) != len(converters):
                raise _schema_mismatch_error(
                    view, number, f"has {len(row)} values, expected {len(converters)}"
                )
            try:
                yield tuple(
                    None if value is None else convert(value)
                    for convert, value in zip(converters, row, strict=True)
                )
            except (ValueError, TypeError, OverflowError):
                yield tuple(self._fitting(described, row))
        for found in described:
            if count := self.misfits.get(found.name):
                log.warning(
                    "values with a wrong type exported as null",
                    view=view,
                    count=count,
                    column=found.name,
                    type=found.type,
                )

    def _fitting(self, described: Sequence[Column], row: Sequence[Any]) -> Iterator[Value]:
        for found, value in zip(described, row, strict=True):
            try:
                yield None if value is None else _CONVERTERS[found.type](value)
            except (ValueError, TypeError, OverflowError):
                self.misfits[found.name] = self.misfits.get(found.name, 0) + 1
                yield None

    def dictionaries(self, view: str) -> Iterator[dict[str, Value]]:
        """Yield the rows of `clean` as dictionaries by column name."""
        for row in self.clean(view):
            yield dict(zip(self.columns, row, strict=True))


def _schema_mismatch_error(view: str, number: int, what: str) -> FleetmarkError:
    return FleetmarkError(ErrorKind.BAD_MESSAGE, f"row {number} {what}", f"view {view}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list, tuple)):
        value = json.dumps(value, ensure_ascii=False)
    if isinstance(value, (bytes, bytearray)):
        raise TypeError("bytes are not text")
    text = value if isinstance(value, str) else str(value)
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or not -_MAX_INTEGER - 1 <= value <= _MAX_INTEGER:
        raise ValueError("not a 64-bit integer")
    return int(value)


def _real(value: Any) -> float | None:
    if not isinstance(value, (int, float)):
        raise TypeError("not a number")
    return float(value) if math.isfinite(value) else None


def _boolean(value: Any) -> bool:
    if value not in (0, 1) or isinstance(value, str):
        raise ValueError("neither true nor false")
    return bool(value)


_CONVERTERS: Mapping[str, Callable[[Any], Value]] = {
    "text": _text,
    "json": _text,
    "time": _text,
    "integer": _integer,
    "real": _real,
    "boolean": _boolean,
}
