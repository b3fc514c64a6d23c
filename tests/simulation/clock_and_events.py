"""A world of one thread: a clock, an event queue, one source of chance, and a history.

Everything that happens in a simulation is an event of this world; a seed decides all of it.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field


class Violation(Exception):
    """An invariant does not hold; the text names it."""


@dataclass
class World:
    """Time is in seconds and monotonic; each side adds its own, stepping, offset for wall time."""

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
        """Let `event` happen in `delay_s`."""
        self._count += 1
        heapq.heappush(self._queue, (self.now_s + delay_s, self._count, event))

    def chance(self, probability: float) -> bool:
        """Whether a fault strikes here and now; never once the world is healed."""
        return not self.healed and self.random.random() < probability

    def note(self, text: str) -> None:
        """Add a line to the history."""
        self.history.append(f"{self.now_s - 1000:9.3f}  {text}")

    def step(self) -> bool:
        """Let the next event happen; False when there is none."""
        if not self._queue:
            return False
        self.now_s, _, event = heapq.heappop(self._queue)
        event()
        return True

    @property
    def next_at(self) -> float | None:
        """When the next event happens."""
        return self._queue[0][0] if self._queue else None
