"""Wait reasons for watchers, computed once for all of them and only as often as needed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from fleetmark_controller.store.jobs.listings import JobLine
from fleetmark_core.clock import NS_PER_S, now_monotonic_ns

PERIOD_S = 2.0
"""Maximum age in seconds of a wait reason in a small fleet."""
_SHARE = 20
"""Divisor of the share of time that is spent on wait reasons, for fleets of any size."""


class WaitReasons:
    """Cache of the scheduler's last wait reasons."""

    def __init__(self, read: Callable[[], Awaitable[Mapping[str, str]]]) -> None:
        """Create an empty cache; `read` asks the scheduler for the reason of each waiting job."""
        self._read = read
        self._lock = asyncio.Lock()
        self._known: Mapping[str, str] = {}
        self._fresh_until_ns = 0

    async def current(self) -> Mapping[str, str]:
        """Return the wait reason of each waiting job, by its id."""
        async with self._lock:
            began_ns = now_monotonic_ns()
            if began_ns >= self._fresh_until_ns:
                self._known = await self._read()
                now_ns = now_monotonic_ns()
                pause_ns = max(int(PERIOD_S / 2 * NS_PER_S), _SHARE * (now_ns - began_ns))
                self._fresh_until_ns = now_ns + pause_ns
            return self._known


class WaitingJobs:
    """The waiting jobs that one watcher sees, each with the reason that was last sent."""

    def __init__(self) -> None:
        """Start without waiting jobs."""
        self._lines: dict[str, JobLine] = {}
        self._sent: dict[str, str] = {}

    def __bool__(self) -> bool:
        """Return whether a job waits."""
        return bool(self._lines)

    def update(self, line: JobLine) -> None:
        """Record the newest state of a job, which was sent to the watcher without a reason."""
        self._sent.pop(line.job_id, None)
        if line.state == "QUEUED" and not line.retried_as:
            self._lines[line.job_id] = line
        else:
            self._lines.pop(line.job_id, None)

    def changed(self, reasons: Mapping[str, str]) -> Collection[tuple[JobLine, str]]:
        """Return the jobs with a reason that was not yet sent to the watcher, and the reason."""
        found = [
            (line, reasons[job_id])
            for job_id, line in self._lines.items()
            if reasons.get(job_id) and reasons[job_id] != self._sent.get(job_id)
        ]
        self._sent.update((line.job_id, reason) for line, reason in found)
        return found
