"""A model on a runtime with the rounds that were measured, and the goals of `make bench-models`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

MODEL_MS = 0.1
"""Models from this time per sample on have goals as ratios, faster ones as absolute times."""
P50_GOAL, RATE_GOAL, OWN_US_GOAL = 0.03, 0.95, 1.5


@dataclass(frozen=True)
class Subject:
    """One model on one runtime, and the rounds that were measured."""

    runtime: str
    title: str
    rounds: Sequence[dict[str, float]]

    def median(self, name: str) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(one[name] for one in self.rounds)

    def ratio(self, over: str, under: str) -> float:
        """Return the median ratio of two figures of the same round."""
        return statistics.median(one[over] / one[under] for one in self.rounds)

    def difference_us(self, more: str, less: str) -> float:
        """Return the median difference of two figures of the same round, in µs."""
        return statistics.median(one[more] - one[less] for one in self.rounds) / 1000

    @property
    def is_large(self) -> bool:
        """True if the goals are ratios."""
        return self.median("bare") >= MODEL_MS * 1e6

    @property
    def own_us(self) -> float:
        """Time per query that the adapter and the harness add, in µs."""
        return self.difference_us("adapter", "bare") + self.difference_us("harness", "answer")

    @property
    def missed(self) -> list[str]:
        """The goals that were missed, as texts."""
        found = []
        noise = abs(self.ratio("bare again", "bare") - 1)
        where = f"{self.runtime}, {self.title}"
        if self.is_large:
            p50 = self.ratio("loadgen", "bare")
            if abs(p50 - 1) > P50_GOAL + noise:
                found.append(f"{where}: p50 is {p50:.3f} of a bare loop's, noise {noise:.3f}")
            rate = self.ratio("rate", "bare rate")
            if rate < RATE_GOAL - noise:
                found.append(f"{where}: Offline has {rate:.3f} of a bare loop's rate")
        elif self.own_us > OWN_US_GOAL + noise * self.median("bare") / 1000:
            found.append(f"{where}: the harness adds {self.own_us:.2f} µs")
        return found
