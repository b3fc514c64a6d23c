"""State of a simulation: a clock, an event queue, one random generator, and a history.

Everything in a simulation is an event of this queue, in one thread; the seed determines all.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field


class Violation(Exception):
    """An invariant is violated; the text names it."""


@dataclass
class SimulationContext:
    """Clock, events and history. Time is monotonic; each side adds an offset for wall time."""

    seed: int
    random: random.Random = field(init=False)
    now_s: float = 1000.0
    history: list[str] = field(default_factory=list)
    healed: bool = False
    """The last phase of a simulation: no new faults."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        """Schedule `event` in `delay_s`."""
        self._count += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._count, event))

    def chance(self, probability: float) -> bool:
        """Return whether a fault occurs now; never in the last phase."""
        return not self.healed and self.random.random() < probability

    def note(self, text: str) -> None:
        """Add a line to the history."""
        self.history.append(f"{self.now_s - 1000:9.3f}  {text}")

    def step(self) -> bool:
        """Run the next event; return False if there is none."""
        if not self._queue:
            return False
        self.now_s, _, event = heapq.heappop(self._queue)
        event()
        return True

    @property
    def next_at(self) -> float | None:
        """Return the time of the next event."""
        return self._queue[0][0] if self._queue else None
