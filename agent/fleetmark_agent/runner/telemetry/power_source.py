"""A power or energy sensor, independent of the interface from which it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

COUNTER, POWER = "counter", "power"
BOARD, BATTERY, CPU, MEMORY, GPU, PART = "board", "battery", "cpu", "memory", "gpu", "part"
MODULE, SOC = "module", "soc"
"""MODULE: a module without the circuit board that carries it. SOC: the chip with its memory."""


@dataclass(frozen=True)
class PowerSupply:
    """A sensor. A reading times `unit` is joules of a counter, or watts of a power sensor."""

    name: str
    scope: str
    kind: str
    unit: float
    read: Callable[[], int | None]
    wraps_at: int | None = None
    read_last: Callable[[], int | None] | None = None
    """Reader for the last reading of a run, if `read` pauses between readings that are costly."""

    def plain(self) -> dict[str, object]:
        """Return the description of the sensor that is stored with its readings."""
        return {
            "name": self.name,
            "scope": self.scope,
            "kind": self.kind,
            "unit": self.unit,
            "wraps_at": self.wraps_at,
        }
