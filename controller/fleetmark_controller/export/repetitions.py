"""Repetitions of a configuration as one result: median, spread and worst verdict. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]

_KEY = (
    *("campaign_id", "device", "benchmark", "model", "precision", "dataset", "runtime"),
    *("runtime_version", "accelerator", "scenario", "profile", "parameters"),
)
"""Columns of view `results` that are equal in all repetitions."""
_METRIC = "metric_name"
"""Equal in all repetitions, too, but null in a row without a performance run."""
_CONDITIONS = ("suspicious", "unchecked", "good")
"""Conditions from the worst to the best."""

MIXED = "mixed"
"""Validity of repetitions with different validities."""
ESTIMATE = "ESTIMATE"
"""Validity of a run with too few queries, whatever LoadGen calls it."""


def row_validity(row: Row) -> str:
    """Return the validity of a run or result; empty without a verdict of LoadGen."""
    return ESTIMATE if row.get("estimate_reason") else str(row.get("loadgen_validity") or "")


@dataclass(frozen=True)
class Repetitions:
    """All rows of one configuration on one device in one campaign."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        """The first row, for the values that all rows share."""
        return self.rows[0]

    @property
    def measured(self) -> Sequence[Row]:
        """The rows with a performance run; all rows if there are none."""
        return [row for row in self.rows if row.get(_METRIC) is not None] or self.rows

    @property
    def validity(self) -> str:
        """The validity, see `row_validity`; `MIXED` if the rows differ."""
        found = {found for row in self.rows if (found := row_validity(row))}
        return next(iter(found)) if len(found) == 1 else MIXED if found else ""

    @property
    def valid(self) -> int:
        """The number of rows that LoadGen calls VALID."""
        return sum(row_validity(row) == "VALID" for row in self.rows)

    @property
    def counted(self) -> Sequence[Row]:
        """The rows from which figures are computed: the VALID ones; all rows if none is VALID."""
        valid = [row for row in self.rows if row_validity(row) == "VALID"]
        return valid or self.rows

    @property
    def condition(self) -> str:
        """The worst verdict on the measuring conditions."""
        found = {str(row["condition"]) for row in self.rows if row.get("condition")}
        return next(
            (condition for condition in _CONDITIONS if condition in found), next(iter(found), "")
        )

    def values(self, name: str) -> list[float]:
        """Return the numbers in a column of the rows that count."""
        found = (row.get(name) for row in self.counted)
        return [float(value) for value in found if isinstance(value, (int, float))]

    def median(self, name: str) -> float | None:
        """Return the median of a column over the rows that count; None without numbers."""
        values = self.values(name)
        return statistics.median(values) if values else None

    @property
    def accuracy(self) -> float | None:
        """The median accuracy of all rows, or None: it does not depend on performance runs."""
        found = (row.get("accuracy") for row in self.rows)
        values = [float(value) for value in found if isinstance(value, (int, float))]
        return statistics.median(values) if values else None

    def median_row(self) -> Row:
        """Return the row whose official figure is the median, or the one below it."""
        with_figure = [r for r in self.counted if isinstance(r.get("metric_value"), (int, float))]
        if not with_figure:
            return self.first
        ordered = sorted(with_figure, key=lambda row: float(row["metric_value"]))
        return ordered[(len(ordered) - 1) // 2]


def grouped(rows: Iterable[Row]) -> list[Repetitions]:
    """Group the rows by configuration, in the order of their first rows.

    A repetition without a performance run has no metric. It belongs to the repetitions of the same
    configuration that have one, if all of these have the same metric.
    """
    groups: dict[tuple[str, ...], dict[str | None, list[Row]]] = {}
    for row in rows:
        by_metric = groups.setdefault(tuple(str(row.get(name)) for name in _KEY), {})
        by_metric.setdefault(row.get(_METRIC), []).append(row)
    found: list[Repetitions] = []
    for by_metric in groups.values():
        if len(by_metric) == 2 and None in by_metric:
            without = by_metric.pop(None)
            by_metric[next(iter(by_metric))].extend(without)
        found.extend(Repetitions(tuple(rows)) for rows in by_metric.values())
    return found


def several_campaigns(groups: Iterable[Repetitions]) -> bool:
    """Return whether a configuration on one device is in more than one campaign."""
    seen: set[tuple[str, ...]] = set()
    for group in groups:
        key = tuple(str(group.first.get(name)) for name in (*_KEY[1:], _METRIC))
        if key in seen:
            return True
        seen.add(key)
    return False
