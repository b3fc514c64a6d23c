"""Wait reasons for watchers: worked out once for all of them, and not more often than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from fleetmark_controller.store.jobs.listings import JobLine
from fleetmark_core.clock import NS_PER_S, now_monotonic_ns

PERIOD_S = 2.0
"""How old a reason that a watcher sees may be in a small fleet."""
_SHARE = 20
"""At most one part in so many of the time goes into wait reasons, however large the fleet."""


class WaitReasons:
    """Keeps the scheduler's last answer for a while."""

    def __init__(self, read: Callable[[], Awaitable[Mapping[str, str]]]) -> None:
        """`read` asks the scheduler why each waiting job waits."""
        self._read = read
        self._lock = asyncio.Lock()
        self._known: Mapping[str, str] = {}
        self._fresh_until_ns = 0

    async def current(self) -> Mapping[str, str]:
        """Return why each waiting job waits, by its id."""
        async with self._lock:
            began_ns = now_monotonic_ns()
            if began_ns >= self._fresh_until_ns:
                self._known = await self._read()
                now_ns = now_monotonic_ns()
                pause_ns = max(int(PERIOD_S / 2 * NS_PER_S), _SHARE * (now_ns - began_ns))
                self._fresh_until_ns = now_ns + pause_ns
            return self._known


class WaitingJobs:
    """The waiting jobs that one watcher sees, each with the reason that the watcher was sent."""

    def __init__(self) -> None:
        """No job waits."""
        self._lines: dict[str, JobLine] = {}
        self._sent: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Whether a job waits."""
        return bool(self._lines)

    def update(self, line: JobLine) -> None:
        """Take the newest state of a job. The watcher was sent it without a reason."""
        self._sent.pop(line.job_id, None)
        if line.state == "QUEUED" and not line.retried_as:
            self._lines[line.job_id] = line
        else:
            self._lines.pop(line.job_id, None)

    def changed(self, reasons: Mapping[str, str]) -> Collection[tuple[JobLine, str]]:
        """Return the jobs whose reasons the watcher has not been sent yet, each with its reason."""
        found = [
            (line, reasons[job_id])
            for job_id, line in self._lines.items()
            if reasons.get(job_id) and reasons[job_id] != self._sent.get(job_id)
        ]
        self._sent.update((line.job_id, reason) for line, reason in found)
        return found
