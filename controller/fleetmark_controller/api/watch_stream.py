"""Messages to watchers of a campaign: every job now, then each change and new wait reasons."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fleetmark_controller.api import serde
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.engine.job_watch import JobEvent
from fleetmark_controller.engine.pubsub import Subscription
from fleetmark_controller.engine.wait_reasons import PERIOD_S, WaitingJobs
from fleetmark_controller.lifecycle.states import JOB_TERMINAL
from fleetmark_controller.store.jobs import campaigns, listings
from fleetmark_controller.store.jobs.listings import JobLine
from fleetmark_core.clock import NS_PER_S, now_monotonic_ns
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import common_pb2, jobs_pb2

_TERMINAL = {state.value for state in JOB_TERMINAL}


class WatchStream:
    """Builder of the messages for all watchers of one engine."""

    def __init__(self, engine: Engine) -> None:
        """Serve the watchers of one engine."""
        self._engine = engine
        self._made: tuple[object, jobs_pb2.WatchEvent] = (None, jobs_pb2.WatchEvent())

    async def events(self, campaign: str) -> AsyncIterator[jobs_pb2.WatchEvent]:
        """Yield the state of every job of a campaign, then each change, until all are terminal.

        The wait reason of a job depends on the presence of devices and on time, for which there are
        no events: while a job waits, its reason is looked up every `PERIOD_S`, and sent if it has
        changed.

        Raises:
            FleetmarkError: UNREACHABLE: the controller stops.
        """
        engine = self._engine
        with engine.jobs.changes.subscribe(campaign) as changes:
            open_jobs: set[str] = set()
            ended: set[str] = set()
            waiting = WaitingJobs()
            for line in await engine.reader.run(lambda c: listings.list_jobs(c, campaign)):
                track_job(open_jobs, ended, line)
                waiting.update(line)
                yield jobs_pb2.WatchEvent(job=serde.job_to(line))
            look_at_ns = 0
            while open_jobs:
                if waiting and now_monotonic_ns() >= look_at_ns:
                    reasons = await engine.wait_reasons.current()
                    changed = waiting.changed(reasons)
                    for line, reason in changed:
                        yield jobs_pb2.WatchEvent(job=serde.job_to(line, reason))
                    if changed:
                        yield jobs_pb2.WatchEvent()
                    look_at_ns = now_monotonic_ns() + int(PERIOD_S * NS_PER_S)
                left_s = max(0.0, (look_at_ns - now_monotonic_ns()) / NS_PER_S)
                try:
                    event = await _next(changes, left_s if waiting else None)
                except asyncio.TimeoutError:
                    continue
                if not isinstance(event, JobEvent):
                    track_job(open_jobs, ended, event)
                    waiting.update(event)
                yield self._message(event)
        counts = await engine.reader.run(lambda c: campaigns.states(c, campaign))
        last = jobs_pb2.CampaignEnded(campaign_id=campaign, jobs_by_state=counts)
        yield jobs_pb2.WatchEvent(ended=last)

    def _message(self, event: JobEvent | JobLine) -> jobs_pb2.WatchEvent:
        """Return the message of an event; it is built once for all watchers."""
        known, message = self._made
        if known is not event:
            message = (
                jobs_pb2.WatchEvent(progress=_progress(event))
                if isinstance(event, JobEvent)
                else jobs_pb2.WatchEvent(job=serde.job_to(event))
            )
            self._made = (event, message)
        return message


def track_job(open_jobs: set[str], ended: set[str], line: JobLine) -> None:
    """Record whether a job is open. A new one, a retry or a repetition, may be running already.

    A terminal job stays terminal, because an older state of it may arrive late.
    """
    if line.state in _TERMINAL:
        open_jobs.discard(line.job_id)
        ended.add(line.job_id)
    elif line.job_id not in ended:
        open_jobs.add(line.job_id)


async def _next(
    changes: Subscription[JobLine | JobEvent], timeout_s: float | None
) -> JobLine | JobEvent:
    event = await asyncio.wait_for(changes.get(), timeout_s)
    if event is None:
        raise FleetmarkError(ErrorKind.UNREACHABLE, "the controller is stopping")
    return event


def _progress(event: JobEvent) -> jobs_pb2.JobProgress:
    return jobs_pb2.JobProgress(
        job_id=event.job_id,
        device=event.device_id,
        state=serde.state_to(event.state),
        progress=common_pb2.Progress(phase=event.phase, done=event.done, total=event.total),
        temperature_c=event.temperature_c,
        time_left_ns=None if event.left_s is None else int(event.left_s * NS_PER_S),
    )
