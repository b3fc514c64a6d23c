"""Job events for watchers: states from the store, progress from devices."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleetmark_controller.engine.log_tail import LogTailHub
from fleetmark_controller.engine.pubsub import Hub
from fleetmark_controller.lifecycle.states import AttemptState, JobState
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning.estimates import left_s
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.jobs import listings
from fleetmark_controller.store.jobs.listings import JobLine
from fleetmark_core.clock import NS_PER_S, now_monotonic_ns


@dataclass(frozen=True)
class JobEvent:
    """Progress of a job as reported by its device. Not stored."""

    job_id: str
    device_id: str
    state: AttemptState
    phase: str
    done: int
    total: int
    temperature_c: float | None
    left_s: float | None = None
    """Estimated seconds until the job is done."""


@dataclass(frozen=True)
class _ActiveJob:
    """A job that is not terminal."""

    campaign_id: str
    expected_s: float
    active_since_ns: int
    """By the monotonic clock; 0: it is not active."""


class JobWatch:
    """Publisher of job changes to the subscribers of their campaigns."""

    def __init__(self, reader: Reader, logs: LogTailHub) -> None:
        """Start without open jobs."""
        self._reader = reader
        self._logs = logs
        self._open: dict[str, _ActiveJob] = {}  # jobs that are not terminal
        self.changes: Hub[JobLine | JobEvent] = Hub()
        self.latest: dict[str, JobEvent] = {}
        """The last progress that each device reported."""

    async def load(self) -> None:
        """Load the jobs that an earlier process left active."""
        for line in await self._reader.run(lambda c: listings.list_jobs(c, state="ACTIVE")):
            self._open[line.job_id] = _ActiveJob(
                line.campaign_id, line.expected_s, now_monotonic_ns()
            )

    def progress(self, event: JobEvent) -> None:
        """Record a progress report, add an estimate, and publish it to watchers."""
        job = self._open.get(event.job_id)
        if job is not None:
            elapsed_s = (now_monotonic_ns() - job.active_since_ns) / NS_PER_S
            known = job.expected_s or None
            left = left_s(known, elapsed_s, event.phase, event.done, event.total)
            event = replace(event, left_s=left)
        before = self.latest.get(event.device_id)
        if event.temperature_c is None and before is not None and before.job_id == event.job_id:
            event = replace(event, temperature_c=before.temperature_c)
        self.latest[event.device_id] = event
        if job is not None and self.changes.listened(job.campaign_id):
            self.changes.publish(job.campaign_id, ("progress", event.job_id), event)

    async def publish_jobs(self, effects: Effects) -> None:
        """Publish the current state of the jobs that an operation changed."""
        if not effects.jobs:
            return
        lines = await self._reader.run(lambda c: listings.jobs_by_id(c, effects.jobs))
        # Publish follow-up jobs first, so that a watcher does not see the campaign as complete.
        for line in sorted(lines, key=lambda line: bool(line.finished_at)):
            self._publish(line)

    def _publish(self, line: JobLine) -> None:
        if line.state != JobState.ACTIVE.value:
            self._logs.ended(line.job_id)
        if line.finished_at:
            self._open.pop(line.job_id, None)
        else:
            before = self._open.get(line.job_id)
            since_ns = before.active_since_ns if before else 0
            if line.state == JobState.QUEUED.value:
                since_ns = 0
            elif not since_ns:
                since_ns = now_monotonic_ns()
            self._open[line.job_id] = _ActiveJob(line.campaign_id, line.expected_s, since_ns)
        self.changes.publish(line.campaign_id, ("job", line.job_id), line)
