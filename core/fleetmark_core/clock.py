"""Times: nanoseconds internally, UTC in ISO 8601 for users and the database."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from functools import lru_cache

NS_PER_S = 1_000_000_000


@lru_cache(maxsize=256)
def iso(unix_ns: int) -> str:
    """Return a time as `2026-01-31T12:00:00.123Z`; the text sorts like the time."""
    moment = datetime.fromtimestamp(unix_ns // 1_000_000 / 1000, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> int:
    """Return the nanoseconds since 1970 of an ISO 8601 time; a time without a zone is UTC.

    Raises:
        ValueError: `text` is not a time, or the time is not between the years 1 and 9999 in UTC.
    """
    moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    try:
        moment = moment.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    return int(moment.timestamp() * 1000) * 1_000_000


class ClockStepDetector:
    """Detector of wall clock steps, which compares the wall clock with the monotonic clock."""

    def __init__(self, unix_ns: int, monotonic_ns: int, tolerance_ns: int = 10 * NS_PER_S) -> None:
        self._difference_ns = unix_ns - monotonic_ns
        self._tolerance_ns = tolerance_ns

    def check(self, unix_ns: int, monotonic_ns: int) -> float:
        """Return the seconds by which the wall clock stepped since the last detected step, or 0.0.

        Differences up to the tolerance do not count as a step.
        """
        step_ns = unix_ns - monotonic_ns - self._difference_ns
        if abs(step_ns) <= self._tolerance_ns:
            return 0.0
        self._difference_ns += step_ns
        return step_ns / NS_PER_S


def now_unix_ns() -> int:
    """Return the wall-clock time, for stored and displayed times. Never use it for leases."""
    return time.time_ns()


def now_monotonic_ns() -> int:
    """Return the monotonic time, for leases and time limits."""
    return time.monotonic_ns()
