"""One sensor of power or energy, whatever it is read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

COUNTER, POWER = "counter", "power"
BOARD, BATTERY, CPU, MEMORY, GPU, PART = "board", "battery", "cpu", "memory", "gpu", "part"


@dataclass(frozen=True)
class PowerSupply:
    """One sensor. A reading times `unit` is joules of a counter, watts of a power sensor."""

    name: str
    scope: str
    kind: str
    unit: float
    read: Callable[[], int | None]
    wraps_at: int | None = None

    def plain(self) -> dict[str, object]:
        """What travels with the readings."""
        return {
            "name": self.name,
            "scope": self.scope,
            "kind": self.kind,
            "unit": self.unit,
            "wraps_at": self.wraps_at,
        }
