"""Exponential backoff between tries."""

from __future__ import annotations

import os


class Backoff:
    """Delays that double from the first to the longest. The caller waits; this only counts."""

    def __init__(self, first_s: float, longest_s: float, *, jitter: float = 0.0) -> None:
        """Begin with the first delay.

        Args:
            first_s: the delay before the second try, in seconds.
            longest_s: no delay is longer, in seconds.
            jitter: each delay is shortened by a random share of up to this much (0 to 1), so that
                a whole fleet does not try in step.
        """
        self._first_s = first_s
        self._longest_s = longest_s
        self._jitter = jitter
        self._delay_s = first_s

    def next_s(self) -> float:
        """Return the delay before the next try, in seconds, and double the one after it."""
        delay_s = self._delay_s
        self._delay_s = min(delay_s * 2, self._longest_s)
        if not self._jitter:
            return delay_s
        return delay_s * (1.0 - self._jitter * os.urandom(1)[0] / 255)

    def reset(self) -> None:
        """Begin with the first delay again: something succeeded."""
        self._delay_s = self._first_s
