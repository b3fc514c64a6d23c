"""A power or energy sensor, independent of the interface from which it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

COUNTER, POWER = "counter", "power"
BOARD, BATTERY, CPU, MEMORY, GPU, PART = "board", "battery", "cpu", "memory", "gpu", "part"


@dataclass(frozen=True)
class PowerSupply:
    """A sensor. A reading times `unit` is joules of a counter, or watts of a power sensor."""

    name: str
    scope: str
    kind: str
    unit: float
    read: Callable[[], int | None]
    wraps_at: int | None = None

    def plain(self) -> dict[str, object]:
        """Return the description of the sensor that is stored with its readings."""
        return {
            "name": self.name,
            "scope": self.scope,
            "kind": self.kind,
            "unit": self.unit,
            "wraps_at": self.wraps_at,
        }
