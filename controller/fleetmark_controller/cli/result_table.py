"""Columns of a results table, selected by the terminal's width and by what differs. Pure.

A column with one value in all rows is as informative as one line below the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleetmark_cli.tables import cell_text, table_width
from fleetmark_controller.compare.render import figure
from fleetmark_core.ids import short_ids
from fleetmark_core.resource_model import size

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """A possible column. `keep`: columns with higher values are kept longer if space is short."""

    heading: str
    values: tuple[object, ...]
    keep: int
    names: bool = False
    """True if the column is a part of a configuration's name."""

    @property
    def is_constant(self) -> bool:
        """Return whether the column is the same in all rows."""
        return len(set(map(cell_text, self.values))) <= 1

    @property
    def is_known(self) -> bool:
        """Return whether any row has a value."""
        return any(value not in (None, "") for value in self.values)

    @property
    def width(self) -> int:
        """The column's width without wrapping."""
        return max(map(len, (self.heading, *map(cell_text, self.values))))


@dataclass(frozen=True)
class ResultTable:
    """The printed content: a table, then the notes."""

    headings: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    notes: tuple[str, ...]


ALWAYS = 100
"""Value of `keep` for a column that is never left out if it differs between rows."""


def result_fields(rows: Sequence[Row]) -> list[Field]:
    """Return the fields of rows of view `results`, in reading order."""
    return [
        *_names(rows),
        *_if_differing(_field(rows, "repetition", "repetition", keep=70)),
        Field("official", _official(rows), ALWAYS),
        _field(rows, "latency_p50_ms", "p50 ms", keep=20),
        _field(rows, "latency_p99_ms", "p99 ms", keep=10),
        Field("accuracy", _accuracy(rows), 60),
        Field("memory", _memory(rows), ALWAYS),
        _field(rows, "loadgen_validity", "LoadGen", keep=ALWAYS),
        _field(rows, "condition", "condition", keep=50),
        Field("campaign", _short(rows, "campaign_id"), 40),
    ]


def run_fields(rows: Sequence[Row]) -> list[Field]:
    """Return the fields of rows of view `runs`, in reading order."""
    return [
        Field("run", _short(rows, "run_id"), ALWAYS),
        *_names(rows),
        _field(rows, "mode", "mode", keep=80),
        Field("official", _official(rows), ALWAYS),
        Field("accuracy", _accuracy(rows), 60),
        Field("memory", _memory(rows), ALWAYS),
        _field(rows, "loadgen_validity", "LoadGen", keep=ALWAYS),
        _field(rows, "condition", "condition", keep=50),
        _field(rows, "started_at", "started", keep=10),
        Field("campaign", _short(rows, "campaign_id"), 40),
    ]


def _accuracy(rows: Sequence[Row]) -> tuple[object, ...]:
    """Return the accuracies, with the name of each metric other than top-1."""
    return tuple(
        value
        if (value := row.get("accuracy")) is None
        or (metric := row.get("accuracy_metric")) in (None, "", "top-1")
        else f"{cell_text(value)} {metric}"
        for row in rows
    )


def arrange(fields: Sequence[Field], width: int | None) -> ResultTable:
    """Return the table for a terminal of `width` columns; None: all columns, for pipes.

    If space is short, columns that are the same in all rows are moved to a note first. Then
    latencies and times are left out; then the parts of a configuration's name are joined in one
    column, which may be wrapped; then the other columns are left out, the least important first.
    """
    shown = [field for field in fields if width is None or field.is_known]
    constant: list[Field] = []
    dropped: list[str] = []

    def fits() -> bool:
        return width is None or table_width(field.width for field in shown) <= width

    for field in sorted((f for f in shown if f.is_constant), key=lambda f: f.keep):
        if not fits():
            shown.remove(field)
            constant.append(field)
    _drop(shown, dropped, fits, below=30)
    if not fits():
        shown = _joined(shown)
    if width is not None and table_width(_least(field) for field in shown) > width:
        _drop(shown, dropped, lambda: table_width(map(_least, shown)) <= (width or 0), below=ALWAYS)
    return ResultTable(
        tuple(field.heading for field in shown),
        tuple(zip(*(field.values for field in shown), strict=True)) if shown else (),
        tuple(_notes([f for f in fields if f in constant], dropped)),
    )


def _drop(shown: list[Field], dropped: list[str], fits: Any, below: int) -> None:
    for field in sorted((f for f in shown if f.keep < below), key=lambda f: f.keep):
        if fits():
            return
        shown.remove(field)
        dropped.append(field.heading)


def _joined(shown: Sequence[Field]) -> list[Field]:
    """Join the fields that name a configuration, except the device, in one column."""
    parts = [field for field in shown if field.names and field.heading != "device"]
    if len(parts) < 2:
        return list(shown)
    values = tuple(
        " ".join(cell_text(value) for value in row if value not in (None, ""))
        for row in zip(*(part.values for part in parts), strict=True)
    )
    whole = Field("configuration", values, ALWAYS, names=True)
    return [whole if field is parts[0] else field for field in shown if field not in parts[1:]]


def _least(field: Field) -> int:
    """Return the width of a column's longest word: cells may be wrapped between words."""
    texts = (field.heading, *map(cell_text, field.values))
    return max((len(word) for text in texts for word in text.split()), default=0)


def _notes(constant: Sequence[Field], dropped: Sequence[str]) -> list[str]:
    notes = []
    same = [f"{field.heading} {cell_text(field.values[0])}" for field in constant]
    if same:
        notes.append(f"The same in all rows: {', '.join(same)}")
    if dropped:
        notes.append(f"Columns not shown, the terminal is too narrow: {', '.join(dropped)}")
    return notes


def _names(rows: Sequence[Row]) -> list[Field]:
    """Return the fields that name a configuration."""
    fields = [
        _field(rows, "device", "device", keep=ALWAYS, names=True),
        _field(rows, "benchmark", "benchmark", keep=30, names=True),
        _field(rows, "model", "model", keep=90, names=True),
        _field(rows, "precision", "precision", keep=90, names=True),
        Field("runtime", _runtimes(rows), 90, names=True),
        _field(rows, "scenario", "scenario", keep=90, names=True),
        *_parameters(rows),
    ]
    for name in ("accelerator", "profile", "dataset"):
        field = _field(rows, name, name, keep=90, names=True)
        # An accelerator that follows from the runtime does not distinguish configurations.
        if _distinguishes(field, fields):
            fields.append(field)
    return fields


def _distinguishes(field: Field, others: Sequence[Field]) -> bool:
    """Return whether a field differs between rows that are equal in all other fields."""
    seen: dict[tuple[object, ...], object] = {}
    keys = zip(*(other.values for other in others), strict=True)
    return any(
        seen.setdefault(key, value) != value for key, value in zip(keys, field.values, strict=True)
    )


def _if_differing(field: Field) -> Sequence[Field]:
    """Return the field, or nothing if it is the same in all rows and thus uninteresting."""
    return () if field.is_constant else (field,)


def _field(rows: Sequence[Row], name: str, heading: str, keep: int, names: bool = False) -> Field:
    return Field(heading, tuple(row.get(name) for row in rows), keep, names)


def _official(rows: Sequence[Row]) -> tuple[object, ...]:
    return tuple(map(_official_figure, rows))


def _official_figure(row: Row) -> object:
    if row.get("estimate_reason"):
        mean, rate = row.get("latency_mean_ms"), row.get("throughput_samples_per_s")
        # LoadGen gives no percentile of so few queries.
        offline = row.get("scenario") == "Offline"
        known = figure(rate, "samples_per_s") if offline else figure(mean, "latency_mean_ms")
        return None if known is None else f"about {known} (estimate)"
    return figure(row.get("metric_value"), row.get("metric_name"))


def _memory(rows: Sequence[Row]) -> tuple[object, ...]:
    found = (row.get("peak_memory_bytes") for row in rows)
    return tuple(size(value) if isinstance(value, (int, float)) else None for value in found)


def _short(rows: Sequence[Row], name: str) -> tuple[object, ...]:
    short = short_ids(str(row.get(name) or "") for row in rows)
    return tuple(short[str(row.get(name) or "")] for row in rows)


def _runtimes(rows: Sequence[Row]) -> tuple[object, ...]:
    """Return the runtimes, with versions if any runtime has several."""
    versions: dict[object, set[object]] = {}
    for row in rows:
        versions.setdefault(row.get("runtime"), set()).add(row.get("runtime_version"))
    several = any(len(found) > 1 for found in versions.values())
    return tuple(
        f"{row.get('runtime')} {row.get('runtime_version')}" if several else row.get("runtime")
        for row in rows
    )


def _parameters(rows: Sequence[Row]) -> list[Field]:
    """Return a field per parameter that differs between rows, and one field for all others."""
    tables = [_table(row.get("parameters")) for row in rows]
    names = sorted({name for table in tables for name in table})
    differing = [name for name in names if len({str(table.get(name)) for table in tables}) > 1]
    others = [name for name in names if name not in differing]
    if not differing:
        return [Field("parameters", _words(tables, names), ALWAYS, names=True)]
    fields = [Field("parameters", _words(tables, differing), ALWAYS, names=True)]
    if others:
        fields.append(Field("other parameters", _words(tables, others), 0, names=True))
    return fields


def _words(tables: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[object, ...]:
    return tuple(
        " ".join(f"{name}={_word(table[name])}" for name in names if name in table) or None
        for table in tables
    )


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _table(text: object) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
