"""Telemetry of an attempt: checked readings over time, and the figures derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleetmark_controller.evaluation import thresholds

# Lowest and highest value of each reading, both inclusive; any other value is rejected.
_RANGES: dict[str, tuple[float, float]] = {
    "elapsed_ms": (0, 1e12),
    "temperature_c": (-80, 250),
    "frequency_hz": (1, 1e12),
    "cpu_percent": (0, 1e6),
    "memory_bytes": (0, thresholds.MAX_MEMORY_BYTES),
    "foreign_cpu_percent": (0, 1e6),
    "load": (0, 1e6),
    "swap_bytes": (0, thresholds.MAX_MEMORY_BYTES),
    "swapped_bytes": (0, 1e18),
    "throttled": (0, 1e12),
    "power_mode": (0, 1e3),
    "quota_periods": (0, 1e12),
    "quota_throttled": (0, 1e12),
}
# A reading of these columns covers the time since the previous one, so that one just after the end
# still counts. All others are instantaneous: after the end they describe an idle device.
_COVERING = frozenset(
    (
        *("cpu_percent", "foreign_cpu_percent", "swap_bytes", "swapped_bytes", "throttled"),
        *("quota_periods", "quota_throttled"),
    )
)
# A reading of these columns is a difference from the previous one, so that the first one of a
# measurement also covers time before it. The other covering columns are levels.
_DIFFERENCES = frozenset(
    ("cpu_percent", "foreign_cpu_percent", "quota_periods", "quota_throttled"),
)
_READING_MS = 1000.0


@dataclass(frozen=True)
class Telemetry:
    """Readings by column, all equally long; None if the device does not offer the reading."""

    columns: dict[str, list[float | None]]
    refused: int = 0
    """Number of rejected readings: not a number, not finite, or out of range."""

    def readings(self, name: str) -> list[float]:
        """Return the readings of a column, without the missing ones."""
        return [value for value in self.columns.get(name, []) if value is not None]

    def maximum(self, name: str) -> float | None:
        """Return the highest reading of a column; None if there is none."""
        return max(self.readings(name), default=None)

    def during(self, start_ms: float, end_ms: float) -> Telemetry:
        """Return the readings of an interval; all readings if none is in it (the clocks disagree).

        Of the readings shortly after the end, only those that cover earlier time are kept. The
        first reading also covers time before the start, for example while a model is loaded: its
        differences are kept only if there is no other reading.
        """
        rows = _rows_during(self.columns.get("elapsed_ms", []), start_ms, end_ms)
        if not rows:
            return self
        return Telemetry(
            {
                name: [column[row.number] if row.counts(name) else None for row in rows]
                for name, column in self.columns.items()
            }
        )


@dataclass(frozen=True)
class _Row:
    """A row of an interval; `inside`: before its end; `since_start`: no earlier time is covered."""

    number: int
    inside: bool = True
    since_start: bool = True

    def counts(self, column: str) -> bool:
        """Return whether the row's reading of a column describes the interval."""
        if column in _DIFFERENCES:
            return self.since_start
        return self.inside or column in _COVERING


def _rows_during(elapsed: Sequence[float | None], start_ms: float, end_ms: float) -> list[_Row]:
    """Return the rows that describe an interval, given the time of each row."""
    rows: list[_Row] = []
    after: list[_Row] = []
    previous_ms: float | None = None
    for number, at in enumerate(elapsed):
        if at is None:
            continue
        since_start = previous_ms is None or previous_ms >= start_ms
        if start_ms <= at <= end_ms:
            rows.append(_Row(number, since_start=since_start))
        elif end_ms < at <= end_ms + _READING_MS:
            # If the interval is so short that it has no reading, the next ones are used.
            after.append(_Row(number))
            if rows and previous_ms is not None and previous_ms < end_ms:
                rows.append(_Row(number, inside=False, since_start=since_start))
        previous_ms = at
    if len(rows) == 1:
        return [_Row(rows[0].number)]
    return rows or after


def read(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Telemetry:
    """Check readings.

    Unknown columns are left out. Rows of the wrong length count as refused.
    """
    names = [str(name) for name in columns]
    table: dict[str, list[float | None]] = {name: [] for name in names if name in _RANGES}
    refused = 0
    for row in rows[: thresholds.MAX_TELEMETRY_ROWS]:
        if not isinstance(row, (list, tuple)) or len(row) != len(names):
            refused += 1
            continue
        for name, value in zip(names, row, strict=True):
            if name not in table:
                continue
            reading = _reading(value, *_RANGES[name])
            refused += value is not None and reading is None
            table[name].append(reading)
    # A column that is named twice is longer than the others.
    lengths = {len(column) for column in table.values()}
    return Telemetry(table, refused) if len(lengths) <= 1 else Telemetry({}, len(rows))


def _reading(value: object, low: float, high: float) -> float | None:
    if isinstance(value, bool):
        value = int(value)
    # The number is compared before conversion, because it may have too many digits for a float. NaN
    # is in no range.
    if not isinstance(value, (int, float)) or not low <= value <= high:
        return None
    return float(value)
