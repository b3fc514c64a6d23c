"""Exponential backoff between tries, and between warnings about them."""

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


class ReasonThrottle:
    """Throttle for log lines about a lasting failure: logged at first, then after longer pauses.

    The caller supplies the time.
    """

    def __init__(
        self, first_s: float = 30.0, longest_s: float = 3600.0, most_reasons: int = 16
    ) -> None:
        """Begin without a reason.

        Args:
            first_s: the pause before a reason is logged again, in seconds; it doubles each time.
            longest_s: no pause is longer, in seconds.
            most_reasons: how many reasons are logged: a foreign server may answer differently each
                time.
        """
        self._first_s = first_s
        self._longest_s = longest_s
        self._most_reasons = most_reasons
        self._logged: dict[str, tuple[float, Backoff]] = {}

    def is_due(self, reason: str, now_s: float) -> bool:
        """Return whether `reason` should be logged at the monotonic time `now_s`."""
        if reason not in self._logged and len(self._logged) == self._most_reasons:
            return False
        due_s, pause = self._logged.get(reason, (now_s, Backoff(self._first_s, self._longest_s)))
        if now_s < due_s:
            return False
        self._logged[reason] = (now_s + pause.next_s(), pause)
        return True

    def reset(self) -> None:
        """Forget all reasons: something succeeded."""
        self._logged.clear()
