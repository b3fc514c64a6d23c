"""Times: UTC in ISO 8601 for people and the database, nanoseconds inside."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from functools import lru_cache

NS_PER_S = 1_000_000_000


@lru_cache(maxsize=256)
def iso(unix_ns: int) -> str:
    """`2026-01-31T12:00:00.123Z`; sorts like the time itself."""
    moment = datetime.fromtimestamp(unix_ns // 1_000_000 / 1000, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> int:
    """Nanoseconds since 1970 of an ISO 8601 time; without a zone it is UTC.

    Raises:
        ValueError: not a time, or not between the years 1 and 9999 of UTC.
    """
    moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    try:
        moment = moment.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    return int(moment.timestamp() * 1000) * 1_000_000


class StepWatch:
    """Notices when the wall clock steps, by the monotonic clock beside it."""

    def __init__(self, unix_ns: int, monotonic_ns: int, tolerance_ns: int = 10 * NS_PER_S) -> None:
        self._difference_ns = unix_ns - monotonic_ns
        self._tolerance_ns = tolerance_ns

    def look(self, unix_ns: int, monotonic_ns: int) -> float:
        """By how many seconds the wall clock stepped since the last step; 0.0 if it did not."""
        step_ns = unix_ns - monotonic_ns - self._difference_ns
        if abs(step_ns) <= self._tolerance_ns:
            return 0.0
        self._difference_ns += step_ns
        return step_ns / NS_PER_S


def now_unix_ns() -> int:
    """The wall clock, for what is stored and shown. Never for leases."""
    return time.time_ns()


def now_monotonic_ns() -> int:
    """The monotonic clock, for leases and time limits."""
    return time.monotonic_ns()
