"""Exponential backoff between retries."""

from __future__ import annotations

import os


class Backoff:
    """Delays that double from the first to the longest; the caller does the waiting."""

    def __init__(self, first_s: float, longest_s: float, *, jitter: float = 0.0) -> None:
        """Begin with the first delay.

        Args:
            first_s: the delay before the second try, in seconds.
            longest_s: the maximum delay, in seconds.
            jitter: each delay is shortened by a random share of at most this value (0 to 1), so
                that a whole fleet does not retry in step.
        """
        self._first_s = first_s
        self._longest_s = longest_s
        self._jitter = jitter
        self._delay_s = first_s

    def next_s(self) -> float:
        """Return the delay before the next try, in seconds, and double the following one."""
        delay_s = self._delay_s
        self._delay_s = min(delay_s * 2, self._longest_s)
        if not self._jitter:
            return delay_s
        return delay_s * (1.0 - self._jitter * os.urandom(1)[0] / 255)

    def reset(self) -> None:
        """Begin with the first delay again, after a success."""
        self._delay_s = self._first_s
