"""Jobs: submit, look at, watch, cancel."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator

from fleetmark_catalog.core.digest import canonical_json
from fleetmark_controller.clock import NS_PER_S
from fleetmark_controller.engine import Engine, JobEvent
from fleetmark_controller.ids import uuid7
from fleetmark_controller.lifecycle.states import JOB_TERMINAL
from fleetmark_controller.operations import campaigns
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning import Plan, Request
from fleetmark_controller.services import convert, edge, guard
from fleetmark_controller.store import audit, listings
from fleetmark_controller.store.listings import JobLine
from fleetmark_protos.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import common_pb2, jobs_pb2, jobs_pb2_grpc

_TERMINAL = {state.value for state in JOB_TERMINAL}


class JobsService(jobs_pb2_grpc.JobsServicer):
    """Serves campaigns and jobs."""

    def __init__(self, engine: Engine) -> None:
        """Serves one engine."""
        self._engine = engine

    @edge.streaming
    async def Submit(
        self, request: jobs_pb2.SubmitRequest, context: edge.Context
    ) -> AsyncIterator[jobs_pb2.SubmitEvent]:
        """Plan, obtain what is missing, store."""
        wanted = _request(request)
        plan = await self._engine.plan(wanted)
        if not request.dry_run:
            said: asyncio.Queue[str | None] = asyncio.Queue()
            loop = asyncio.get_running_loop()

            def say(text: str) -> None:
                loop.call_soon_threadsafe(said.put_nowait, text)

            work = loop.create_task(self._engine.submit(wanted, plan, say, guard.who()))
            work.add_done_callback(lambda _: said.put_nowait(None))
            while (text := await said.get()) is not None:
                yield jobs_pb2.SubmitEvent(progress=text)
            plan = await work
        yield jobs_pb2.SubmitEvent(result=_result(wanted, plan))

    @edge.unary
    async def ListCampaigns(
        self, request: jobs_pb2.ListCampaignsRequest, context: edge.Context
    ) -> jobs_pb2.ListCampaignsReply:
        """All campaigns, newest first, or the one that is named."""
        campaign = ""
        if request.campaign_id:
            campaign = await self._engine.find("campaign", request.campaign_id)
        lines = await self._engine.reader.run(lambda c: listings.list_campaigns(c, campaign))
        return jobs_pb2.ListCampaignsReply(campaigns=[convert.campaign_to(line) for line in lines])

    @edge.unary
    async def ListJobs(
        self, request: jobs_pb2.ListJobsRequest, context: edge.Context
    ) -> jobs_pb2.ListJobsReply:
        """Jobs, first come first."""
        campaign = ""
        if request.campaign_id:
            campaign = await self._engine.find("campaign", request.campaign_id)
        lines = await self._engine.reader.run(
            lambda c: listings.list_jobs(c, campaign, request.state.upper())
        )
        return jobs_pb2.ListJobsReply(jobs=[convert.job_to(line) for line in lines])

    @edge.unary
    async def GetJob(
        self, request: jobs_pb2.GetJobRequest, context: edge.Context
    ) -> jobs_pb2.JobDetail:
        """One job with its attempts."""
        job_id = await self._engine.find("job", request.job_id)
        page = await self._engine.reader.run(lambda c: listings.job_page(c, job_id))
        return jobs_pb2.JobDetail(
            job=convert.job_to(page.job),
            attempts=[convert.attempt_to(line) for line in page.attempts],
            configuration=canonical_json(page.configuration),
            lock_sha256=page.lock_sha256,
            bundle_bytes=page.bundle_bytes,
            memory_bytes=page.memory_bytes,
            disk_bytes=page.disk_bytes,
        )

    @edge.streaming
    async def Watch(
        self, request: jobs_pb2.WatchRequest, context: edge.Context
    ) -> AsyncIterator[jobs_pb2.WatchEvent]:
        """Every job of a campaign now, then each change, until all are terminal."""
        campaign = await self._engine.find("campaign", request.campaign_id)
        with self._engine.changes.subscribe(campaign) as events:
            open_jobs: set[str] = set()
            for line in await self._engine.reader.run(lambda c: listings.list_jobs(c, campaign)):
                open_jobs.add(line.job_id)
                _settle(open_jobs, line)
                yield jobs_pb2.WatchEvent(job=convert.job_to(line))
            while open_jobs:
                event = await events.get()
                if event is None:
                    raise FleetmarkError(ErrorKind.UNREACHABLE, "the controller is stopping")
                if isinstance(event, JobEvent):
                    yield jobs_pb2.WatchEvent(progress=self._progress(event))
                else:
                    _settle(open_jobs, event)
                    yield jobs_pb2.WatchEvent(job=convert.job_to(event))
        counts = await self._engine.reader.run(lambda c: _counts(c, campaign))
        ended = jobs_pb2.CampaignEnded(campaign_id=campaign, jobs_by_state=counts)
        yield jobs_pb2.WatchEvent(ended=ended)

    @edge.unary
    async def Cancel(
        self, request: jobs_pb2.CancelRequest, context: edge.Context
    ) -> jobs_pb2.CancelReply:
        """Cancel a campaign or a job."""
        if request.job_id:
            ids = [await self._engine.find("job", request.job_id)]
        else:
            campaign = await self._engine.find("campaign", request.campaign_id)
            lines = await self._engine.reader.run(lambda c: listings.list_jobs(c, campaign))
            ids = [line.job_id for line in lines]
        who = guard.who()

        def cancel(c: sqlite3.Connection, fx: Effects, now: int) -> int:
            count = campaigns.cancel(c, fx, now, ids)
            subject = request.job_id or request.campaign_id
            audit.add(c, now, who, "jobs.cancel", subject, jobs=count)
            return count

        count = await self._engine.perform(cancel)
        return jobs_pb2.CancelReply(jobs=count)

    def _progress(self, event: JobEvent) -> jobs_pb2.JobProgress:
        return jobs_pb2.JobProgress(
            job_id=event.job_id,
            device=event.device_id,
            state=convert.state_to(event.state),
            progress=common_pb2.Progress(phase=event.phase, done=event.done, total=event.total),
            temperature_c=event.temperature_c,
        )


def _settle(open_jobs: set[str], line: JobLine) -> None:
    if line.state in _TERMINAL:
        open_jobs.discard(line.job_id)


def _counts(connection: sqlite3.Connection, campaign_id: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in listings.list_jobs(connection, campaign_id):
        counts[line.state] = counts.get(line.state, 0) + 1
    return counts


def _request(message: jobs_pb2.SubmitRequest) -> Request:
    if message.repetitions > 1000 or message.timeout_ns < 0 or message.deadline_ns < 0:
        raise FleetmarkError(ErrorKind.USAGE, "at most 1000 repetitions; no negative times")
    return Request(
        campaign_id=message.campaign_id or uuid7(),
        benchmark=message.benchmark,
        selector=message.selector,
        scenarios=tuple(message.scenarios),
        modes=tuple(message.modes),
        variations=tuple(message.variations),
        parameters={key: tuple(v.values) for key, v in message.parameters.items()},
        profile=message.profile or "quick",
        repetitions=message.repetitions or 1,
        any_device=message.any_device,
        priority=message.priority,
        timeout_s=message.timeout_ns / NS_PER_S,
        deadline_s=message.deadline_ns / NS_PER_S,
        max_attempts=message.max_attempts,
    )


def _result(request: Request, plan: Plan) -> jobs_pb2.SubmitResult:
    return jobs_pb2.SubmitResult(
        campaign_id=request.campaign_id,
        jobs=[
            jobs_pb2.PlannedJob(
                job_id=planned.job.job_id,
                device=planned.device,
                configuration=planned.job.label,
                bundle_bytes=planned.bundle_bytes,
                memory_bytes=planned.memory_bytes,
                disk_bytes=planned.disk_bytes,
            )
            for planned in plan.jobs
        ],
        left_out=[jobs_pb2.LeftOut(device=name, reason=why) for name, why in plan.left_out],
        builds=[
            jobs_pb2.PlannedBuild(wheel=build.filename, minutes=build.minutes)
            for build in plan.builds
        ],
    )
