"""Service Jobs: submit, list, watch, pause, cancel, retry, replay."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator

from fleetmark_controller.api import auth, error_handling, job_logs, serde
from fleetmark_controller.api.watch_stream import WatchStream
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.lifecycle.states import JobState
from fleetmark_controller.operations import campaigns, crosschecks, offline
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning.campaign_plan import CampaignPlan
from fleetmark_controller.planning.campaign_request import CampaignRequest
from fleetmark_controller.store.devices import devices
from fleetmark_controller.store.devices.selection import matching_names
from fleetmark_controller.store.jobs import campaigns as stored_campaigns
from fleetmark_controller.store.jobs import listings, lockfiles
from fleetmark_controller.store.jobs.listings import JobLine
from fleetmark_controller.store.security import audit, releases
from fleetmark_core.clock import NS_PER_S, now_monotonic_ns
from fleetmark_core.digest import canonical_json
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import uuid7
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.order import HIGHEST_START_C, parse_order
from fleetmark_core.sandbox_levels import LEVELS
from fleetmark_core.suggest import hint
from fleetmark_protos.v1 import common_pb2, jobs_pb2, jobs_pb2_grpc

_CAMPAIGN_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_MAX_REPETITIONS = 1000


class JobsService(jobs_pb2_grpc.JobsServicer):
    """Service for campaigns and jobs."""

    def __init__(self, engine: Engine) -> None:
        """Serve one engine."""
        self._engine = engine
        self._watch = WatchStream(engine)

    @error_handling.streaming
    async def Submit(
        self, request: jobs_pb2.SubmitRequest, context: error_handling.Context
    ) -> AsyncIterator[jobs_pb2.SubmitEvent]:
        """Plan a campaign, obtain missing blobs, and store it; yield progress, then the result."""
        wanted = _request(request)
        stored = await self._stored(wanted) if request.campaign_id else None
        if stored is not None:
            # The client repeats the request because the first answer was lost.
            yield jobs_pb2.SubmitEvent(result=stored)
            return
        plan = await self._engine.submission.plan(wanted, request.dry_run)
        yield jobs_pb2.SubmitEvent(estimate=serde.size_to(plan.size))
        if not request.dry_run:
            progress: asyncio.Queue[str | None] = asyncio.Queue()
            loop = asyncio.get_running_loop()

            def report_progress(text: str) -> None:
                loop.call_soon_threadsafe(progress.put_nowait, text)

            work = loop.create_task(
                self._engine.submission.submit(wanted, plan, report_progress, auth.caller_label())
            )
            work.add_done_callback(lambda _: progress.put_nowait(None))
            while (text := await progress.get()) is not None:
                yield jobs_pb2.SubmitEvent(progress=text)
            plan = await work
        yield jobs_pb2.SubmitEvent(result=_result(wanted, plan))

    @error_handling.unary
    async def ListCampaigns(
        self, request: jobs_pb2.ListCampaignsRequest, context: error_handling.Context
    ) -> jobs_pb2.ListCampaignsReply:
        """Return all campaigns, newest first, or the one that is named."""
        campaign = ""
        if request.campaign_id:
            campaign = await self._engine.find("campaign", request.campaign_id)
        lines = await self._engine.reader.run(lambda c: listings.list_campaigns(c, campaign))
        return jobs_pb2.ListCampaignsReply(campaigns=[serde.campaign_to(line) for line in lines])

    @error_handling.unary
    async def ListJobs(
        self, request: jobs_pb2.ListJobsRequest, context: error_handling.Context
    ) -> jobs_pb2.ListJobsReply:
        """Return jobs in order of submission."""
        state = request.state.upper()
        if state and state not in JobState.__members__:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"no state {request.state[:40]!r}",
                "--state",
                f"States: {', '.join(JobState.__members__)}",
            )
        campaign = ""
        if request.campaign_id:
            campaign = await self._engine.find("campaign", request.campaign_id)
        lines = await self._engine.reader.run(lambda c: listings.list_jobs(c, campaign, state))
        if request.selector:
            online = self._engine.presence.online_ids(now_monotonic_ns())
            names = await self._engine.reader.run(
                lambda c: matching_names(c, request.selector, online)
            )
            lines = [line for line in lines if line.device in names]
        waits = (
            await self._engine.dispatcher.waits() if any(x.state == "QUEUED" for x in lines) else {}
        )
        return jobs_pb2.ListJobsReply(
            jobs=[serde.job_to(line, waits.get(line.job_id, "")) for line in lines]
        )

    @error_handling.unary
    async def GetJob(
        self, request: jobs_pb2.GetJobRequest, context: error_handling.Context
    ) -> jobs_pb2.JobDetail:
        """Return one job with its attempts."""
        job_id = await self._engine.find("job", request.job_id)
        page = await self._engine.reader.run(lambda c: listings.job_page(c, job_id))
        waits = await self._engine.dispatcher.waits() if page.job.state == "QUEUED" else {}
        return jobs_pb2.JobDetail(
            job=serde.job_to(page.job, waits.get(job_id, "")),
            attempts=[serde.attempt_to(line) for line in page.attempts],
            configuration=canonical_json(page.configuration),
            lockfile_sha256=page.lock_sha256,
            bundle_bytes=page.bundle_bytes,
            memory_bytes=page.memory_bytes,
            disk_bytes=page.disk_bytes,
        )

    @error_handling.streaming
    async def Watch(
        self, request: jobs_pb2.WatchRequest, context: error_handling.Context
    ) -> AsyncIterator[jobs_pb2.WatchEvent]:
        """Yield every job of a campaign now, then each change, until all are terminal."""
        campaign = await self._engine.find("campaign", request.campaign_id)
        async for event in self._watch.events(campaign):
            yield event

    @error_handling.unary
    async def Cancel(
        self, request: jobs_pb2.CancelRequest, context: error_handling.Context
    ) -> jobs_pb2.CancelReply:
        """Cancel a campaign or a job."""
        lines = await self._lines(request.campaign_id, request.job_id)
        ids = [line.job_id for line in lines]
        who = auth.caller_label()

        def cancel(c: sqlite3.Connection, fx: Effects, now: int) -> tuple[int, list[JobLine]]:
            count = campaigns.cancel(c, fx, now, ids)
            subject = request.job_id or request.campaign_id
            audit.add(c, now, who, "jobs.cancel", subject, jobs=count)
            # Read in the same transaction: a device may confirm before the next one.
            return count, listings.jobs_by_id(c, ids)

        count, after = await self._engine.transactions.run_operation(cancel)
        return jobs_pb2.CancelReply(
            jobs=count,
            campaign_id=lines[0].campaign_id if lines else "",
            confirming=[line.job_id for line in after if line.state == "CANCELLING"],
        )

    @error_handling.unary
    async def SetPaused(
        self, request: jobs_pb2.SetPausedRequest, context: error_handling.Context
    ) -> jobs_pb2.SetPausedReply:
        """Pause or resume a campaign."""
        campaign = await self._engine.find("campaign", request.campaign_id)
        who = auth.caller_label()

        def decide(c: sqlite3.Connection, fx: Effects, now: int) -> None:
            campaigns.set_paused(c, fx, now, campaign, request.paused)
            act = "campaign.pause" if request.paused else "campaign.resume"
            audit.add(c, now, who, act, campaign)

        await self._engine.transactions.run_operation(decide)
        counts = await self._engine.reader.run(lambda c: stored_campaigns.states(c, campaign))
        return jobs_pb2.SetPausedReply(campaign_id=campaign, jobs_by_state=counts)

    @error_handling.unary
    async def ExportBundle(
        self, request: jobs_pb2.ExportBundleRequest, context: error_handling.Context
    ) -> jobs_pb2.Bundle:
        """Export a waiting job for its device as a bundle."""
        engine = self._engine
        job_id = await engine.find("job", request.job_id)
        keeper, who = engine.release_manager.known(), auth.caller_label()
        key, order = await engine.transactions.run_operation(
            lambda c, fx, now: offline.export(
                c, fx, now, who, job_id, request.device, engine.release_manager.signing_status()
            )
        )
        if engine.signer is None:
            raise FleetmarkError(
                ErrorKind.NO_CATALOG_KEY,
                "this controller has no catalog release: it does not sign orders",
            )
        parsed = parse_order(order)

        def read(c: sqlite3.Connection) -> tuple[Lockfile, str]:
            device = devices.get(c, key.device_id)
            return lockfiles.get(c, parsed.lock_sha256), device.name if device else ""

        lock, name = await engine.reader.run(read)
        blobs = {blob.sha256: blob.size_bytes for blob in lock.blobs()}
        blobs |= {
            parsed.lock_sha256: parsed.lock_bytes,
            parsed.release_sha256: parsed.release_bytes,
        }
        return jobs_pb2.Bundle(
            signed_order=engine.signer.signed(order),
            ca=engine.signer.ca,
            catalog_sha256=keeper.fingerprint,
            device=name,
            blobs=[
                jobs_pb2.BundleBlob(sha256=sha256, size_bytes=size)
                for sha256, size in sorted(blobs.items())
            ],
        )

    @error_handling.unary
    async def Retry(
        self, request: jobs_pb2.RetryRequest, context: error_handling.Context
    ) -> jobs_pb2.RetryReply:
        """Queue failed and invalid jobs again, on request also cancelled ones."""
        lines = await self._lines(request.campaign_id, request.job_id)
        again = {JobState.FAILED, JobState.INVALID}
        if request.include_cancelled:
            again.add(JobState.CANCELLED)
        ids = [line.job_id for line in lines]
        who = auth.caller_label()
        # A newer release may no longer contain what these jobs run.
        locks = await self._engine.reader.run(lambda c: releases.locks_of(c, ids))
        unsigned = await self._engine.release_manager.cover(locks, lambda text: None)

        def retry(c: sqlite3.Connection, fx: Effects, now: int) -> list[str]:
            releases.set_unsigned(c, unsigned)
            new = campaigns.retry(c, fx, now, ids, frozenset(again))
            subject = request.job_id or request.campaign_id
            audit.add(c, now, who, "jobs.retry", subject, jobs=len(new))
            return new

        new = await self._engine.transactions.run_operation(retry)
        return jobs_pb2.RetryReply(campaign_id=lines[0].campaign_id if lines else "", job_ids=new)

    @error_handling.unary
    async def Replay(
        self, request: jobs_pb2.ReplayRequest, context: error_handling.Context
    ) -> jobs_pb2.ReplayReply:
        """Repeat a run on the same device."""
        if request.repetitions > _MAX_REPETITIONS:
            raise FleetmarkError(
                ErrorKind.USAGE, f"too many repetitions: at most {_MAX_REPETITIONS}"
            )
        run_id = await self._engine.find("run", request.run_id)
        campaign = request.campaign_id or uuid7()
        if not _CAMPAIGN_ID.fullmatch(campaign):
            raise _campaign_id_error()
        who = auth.caller_label()

        def replay(c: sqlite3.Connection, fx: Effects, now: int) -> str:
            device = campaigns.replay(c, fx, now, run_id, campaign, request.repetitions or 1, who)
            audit.add(c, now, who, "run.replay", run_id, campaign=campaign)
            return device

        device = await self._engine.transactions.run_operation(replay)
        return jobs_pb2.ReplayReply(campaign_id=campaign, run_id=run_id, device=device)

    @error_handling.unary
    async def Crosscheck(
        self, request: jobs_pb2.CrosscheckRequest, context: error_handling.Context
    ) -> jobs_pb2.CrosscheckReply:
        """Measure the parts of a run's figure on the same device."""
        run_id = await self._engine.find("run", request.run_id)
        campaign = request.campaign_id or uuid7()
        if not _CAMPAIGN_ID.fullmatch(campaign):
            raise _campaign_id_error()
        who = auth.caller_label()

        def submit(c: sqlite3.Connection, fx: Effects, now: int) -> str:
            device = crosschecks.submit(c, fx, now, run_id, campaign, who)
            audit.add(c, now, who, "run.crosscheck", run_id, campaign=campaign)
            return device

        device = await self._engine.transactions.run_operation(submit)
        return jobs_pb2.CrosscheckReply(campaign_id=campaign, run_id=run_id, device=device)

    @error_handling.streaming
    async def StreamLogs(
        self, request: jobs_pb2.StreamLogsRequest, context: error_handling.Context
    ) -> AsyncIterator[common_pb2.LogChunk]:
        """Yield the output of a job."""
        job_id = await self._engine.find("job", request.job_id)
        async for chunk in job_logs.chunks(self._engine, job_id, request.follow):
            yield chunk

    async def _stored(self, wanted: CampaignRequest) -> jobs_pb2.SubmitResult | None:
        """Return the result of an earlier submission of this campaign, or None.

        Raises:
            FleetmarkError: USAGE: the campaign with this id was submitted with another request.
        """
        campaign_id = wanted.campaign_id

        def read(c: sqlite3.Connection) -> list[JobLine] | None:
            if not stored_campaigns.exists(c, campaign_id):
                return None
            if not wanted.is_stored_as(stored_campaigns.request_of(c, campaign_id)):
                raise FleetmarkError(
                    ErrorKind.USAGE,
                    f"campaign {campaign_id} was submitted with another request",
                    next_step="Give each campaign a unique id",
                )
            return listings.list_jobs(c, campaign_id)

        lines = await self._engine.reader.run(read)
        if lines is None:
            return None
        devices = len({line.device for line in lines if line.device})
        return jobs_pb2.SubmitResult(
            campaign_id=campaign_id,
            jobs=[
                jobs_pb2.PlannedJob(
                    job_id=line.job_id,
                    device=line.device,
                    configuration=line.configuration,
                    expected_ns=int(line.expected_s * NS_PER_S),
                )
                for line in lines
            ],
            estimate=jobs_pb2.CampaignEstimate(jobs=len(lines), devices=devices),
        )

    async def _lines(self, campaign: str, job: str) -> list[JobLine]:
        """Return the jobs of a campaign, or one job."""
        if job:
            job_id = await self._engine.find("job", job)
            return await self._engine.reader.run(lambda c: listings.jobs_by_id(c, [job_id]))
        campaign_id = await self._engine.find("campaign", campaign)
        return await self._engine.reader.run(lambda c: listings.list_jobs(c, campaign_id))


def _request(message: jobs_pb2.SubmitRequest) -> CampaignRequest:
    times = (message.timeout_ns, message.deadline_ns, message.cool_down_ns)
    if message.repetitions > _MAX_REPETITIONS or min(times) < 0:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"at most {_MAX_REPETITIONS} repetitions are allowed, and times must not be negative",
        )
    if message.campaign_id and not _CAMPAIGN_ID.fullmatch(message.campaign_id):
        raise _campaign_id_error()
    if message.min_sandbox and message.min_sandbox not in LEVELS:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{message.min_sandbox[:40]!r} is not a sandbox level",
            "--min-sandbox",
            hint(message.min_sandbox[:40], LEVELS),
        )
    if not 0 <= message.start_below_c <= HIGHEST_START_C:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"{message.start_below_c:g} °C is not between 0 and {HIGHEST_START_C:g} °C",
            "--start-below",
        )
    return CampaignRequest(
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
        interleave=message.interleave,
        max_jobs=message.max_jobs,
        submitted_by=auth.operator_name(),
        cool_down_s=message.cool_down_ns / NS_PER_S,
        min_sandbox=message.min_sandbox,
        stable=message.stable,
        sustain_s=message.sustain_ns / NS_PER_S,
        start_below_c=message.start_below_c,
    )


def _campaign_id_error() -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.USAGE, "a campaign id has 1 to 64 letters, digits, dashes and underscores"
    )


def _result(request: CampaignRequest, plan: CampaignPlan) -> jobs_pb2.SubmitResult:
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
                expected_ns=int((planned.job.expected_s or 0.0) * NS_PER_S),
                memory_source=planned.memory_source,
            )
            for planned in plan.jobs
        ],
        excluded=[
            jobs_pb2.DeviceExplanation(device=name, reason=why) for name, why in plan.left_out
        ],
        builds=[
            jobs_pb2.PlannedBuild(wheel=build.filename, minutes=build.minutes)
            for build in plan.builds
        ],
        matched=[
            jobs_pb2.DeviceExplanation(device=name, reason=why) for name, why in plan.matching
        ],
        estimate=serde.size_to(plan.size),
    )
