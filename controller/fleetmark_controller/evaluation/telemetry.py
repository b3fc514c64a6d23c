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

        Of the readings shortly after the end, only those that cover earlier time are kept.
        """
        elapsed = self.columns.get("elapsed_ms", [])
        kept = [
            (number, at <= end_ms)
            for number, at in enumerate(elapsed)
            if at is not None and start_ms <= at <= end_ms + _READING_MS
        ]
        if not kept:
            return self
        # If the run is so short that it has no reading, the next one is used.
        within = any(inside for _, inside in kept)
        return Telemetry(
            {
                name: [
                    column[n] if inside or not within or name in _COVERING else None
                    for n, inside in kept
                ]
                for name, column in self.columns.items()
            }
        )


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
