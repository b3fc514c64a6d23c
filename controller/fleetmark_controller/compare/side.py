"""What is compared: `CAMPAIGN`, or some of its results, as `CAMPAIGN:threads=1,runtime=litert`."""

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
"""Columns of the view `results` by which a side may be narrowed; parameters are the other words."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Chosen:
    """One side as it was written: a campaign, and what its results must be like."""

    text: str
    campaign: str
    must: Mapping[str, str] = field(default_factory=dict)

    def of(self, rows: Sequence[Row]) -> list[Row]:
        """The rows that are meant.

        Raises:
            FleetmarkError: USAGE, no row knows a word of it; NOT_FOUND, none has its values.
        """
        known = {*FACTS, *(name for row in rows for name in parameters(row))}
        for name in self.must if rows else ():
            if name not in known:
                raise FleetmarkError(
                    ErrorKind.USAGE,
                    f"no result has a {name!r}",
                    self.text,
                    hint(name, known),
                )
        found = [row for row in rows if all(fact(row, name) == v for name, v in self.must.items())]
        if not found:
            raise FleetmarkError(
                ErrorKind.NOT_FOUND,
                "no result with a performance run is like that",
                self.text,
                self._others(rows) or "`controller results list` shows what there is",
            )
        return found

    def _others(self, rows: Sequence[Row]) -> str:
        for name in self.must:
            values = sorted({fact(row, name) for row in rows})
            if values and self.must[name] not in values:
                return f"{name} is {', '.join(values[:8])}{', …' if len(values) > 8 else ''}"
        return ""


def parse(text: str) -> Chosen:
    """A side as written on the command line.

    Raises:
        FleetmarkError: USAGE: it is no campaign and no `CAMPAIGN:KEY=VALUE,…`.
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
                "Like `last:threads=1`, or `01a2:runtime=onnxruntime,precision=int8`",
            )
        must[name] = value
    if not campaign.strip():
        raise FleetmarkError(
            ErrorKind.USAGE,
            "no campaign is named",
            text,
            "Any part of its id, or `last`",
        )
    return Chosen(text, campaign.strip(), must)


def parameters(row: Row) -> dict[str, str]:
    """The parameters of the program, as words."""
    found = json.loads(row["parameters"] or "{}")
    return {name: _word(value) for name, value in found.items()}


def fact(row: Row, name: str) -> str:
    """A column or parameter of a result, as a word; empty where there is none."""
    if name in FACTS:
        value = row[name]
        return "" if value is None else str(value)
    return parameters(row).get(name, "")


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
