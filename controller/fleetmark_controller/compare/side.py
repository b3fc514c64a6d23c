"""Parse a side of a comparison.

A side is `CAMPAIGN`, or some of its results, such as `CAMPAIGN:threads=1,runtime=litert`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.suggest import hint

FACTS = (
    *("device", "arch", "os", "board", "benchmark", "model", "precision", "dataset"),
    *("runtime", "runtime_version", "accelerator", "scenario", "profile"),
)
"""Columns of the view `results` by which a side may be narrowed; other names are parameters."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ComparisonSide:
    """One side as written by the operator: a campaign, and required properties of its results."""

    text: str
    campaign: str
    must: Mapping[str, str] = field(default_factory=dict)

    def select(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that have the required properties.

        Raises:
            FleetmarkError: USAGE: no row has a property of this name. NOT_FOUND: no row has the
                values.
        """
        known = {*FACTS, *(name for row in rows for name in parameters(row))}
        for name in self.must if rows else ():
            if name not in known:
                raise FleetmarkError(
                    ErrorKind.USAGE,
                    f"unknown property {name!r}: no result has it",
                    self.text,
                    hint(name, known),
                )
        found = [row for row in rows if all(fact(row, name) == v for name, v in self.must.items())]
        if not found:
            raise FleetmarkError(
                ErrorKind.NOT_FOUND,
                "no result with a performance run matches",
                self.text,
                self._others(rows) or "See `controller results list`",
            )
        return found

    def _others(self, rows: Sequence[Row]) -> str:
        for name in self.must:
            values = sorted({fact(row, name) for row in rows})
            if values and self.must[name] not in values:
                return (
                    f"Values of {name}: {', '.join(values[:8])}{', …' if len(values) > 8 else ''}"
                )
        return ""


def parse(text: str) -> ComparisonSide:
    """Parse a side as written on the command line.

    Raises:
        FleetmarkError: USAGE: it is neither a campaign nor `CAMPAIGN:KEY=VALUE,…`.
    """
    campaign, colon, rest = text.partition(":")
    must: dict[str, str] = {}
    for part in rest.split(",") if colon else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in must:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"{part.strip() or text!r} is not KEY=VALUE",
                text,
                "Examples: `last:threads=1`, `01a2:runtime=onnxruntime,precision=int8`",
            )
        must[name] = value
    if not campaign.strip():
        raise FleetmarkError(
            ErrorKind.USAGE,
            "the campaign is missing",
            text,
            "Any part of its id, or `last`",
        )
    return ComparisonSide(text, campaign.strip(), must)


def parameters(row: Row) -> dict[str, str]:
    """Return the parameters of the program, as texts."""
    found = json.loads(row["parameters"] or "{}")
    return {name: _word(value) for name, value in found.items()}


def fact(row: Row, name: str) -> str:
    """Return a column or parameter of a result, as text; empty if there is none."""
    if name in FACTS:
        value = row[name]
        return "" if value is None else str(value)
    return parameters(row).get(name, "")


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
