"""Submission of campaigns: plan, build wheels, obtain blobs, cover by a release, store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import asdict

from fleetmark_catalog.load import Catalog
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.artifacts.harness import pack_harness
from fleetmark_controller.engine.release_manager import ReleaseManager
from fleetmark_controller.engine.transactions import Transactions
from fleetmark_controller.home.settings import ControllerSettings
from fleetmark_controller.operations import campaigns
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.planning.campaign_plan import CampaignPlan, estimated
from fleetmark_controller.planning.campaign_request import CampaignRequest
from fleetmark_controller.planning.model import NewCampaign
from fleetmark_controller.planning.plan import make_plan
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.devices import saved_fleets
from fleetmark_controller.store.devices.calibrations import CalibrationIndex
from fleetmark_controller.store.devices.device_cache import CachedDeviceList
from fleetmark_controller.store.jobs import job_durations
from fleetmark_controller.store.results.memory_peaks import MemoryPeakIndex
from fleetmark_controller.store.security import audit, releases
from fleetmark_controller.wheelbuild import Builder
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.clock import now_unix_ns

ProgressCallback = Callable[[str], None]


class Submission:
    """Service that turns requests into stored campaigns whose blobs are complete."""

    def __init__(
        self,
        settings: ControllerSettings,
        catalog: Callable[[], Catalog],
        reader: Reader,
        transactions: Transactions,
        blobs: BlobFolder,
        builder: Builder,
        release_manager: ReleaseManager,
        online: Callable[[], Collection[str]],
    ) -> None:
        """Create a service.

        `catalog` and `online` return the current catalog and the ids of the online devices.
        """
        self._online = online
        self._settings = settings
        self._catalog = catalog
        self._reader = reader
        self._transactions = transactions
        self._blobs = blobs
        self._builder = builder
        self._release_manager = release_manager
        self._roster = CachedDeviceList()
        self._paces = CalibrationIndex()
        self._peaks = MemoryPeakIndex()

    async def plan(self, request: CampaignRequest, dry_run: bool = False) -> CampaignPlan:
        """Return the jobs that a request would create on the devices that are registered now."""
        known, speeds, fleets, peaks = await self._reader.run(
            lambda c: (
                self._roster.list_all(c),
                self._paces.quickest(c),
                saved_fleets.list_all(c),
                self._peaks.all_peaks(c),
            )
        )

        online = self._online()

        def work() -> CampaignPlan:
            harness, wheel = pack_harness()
            if not self._blobs.has(harness.sha256):
                self._blobs.put_bytes(wheel)
            catalog = self._catalog().knowing(self._builder.known())
            return make_plan(
                catalog,
                request,
                known,
                harness,
                now_unix_ns(),
                speeds,
                fleets,
                dry_run,
                online,
                peaks,
            )

        plan = await asyncio.to_thread(work)
        keys = {planned.job.configuration_key for planned in plan.jobs}
        earlier = await self._reader.run(lambda c: job_durations.earlier(c, keys))
        return estimated(plan, earlier, online)

    async def built(
        self, request: CampaignRequest, plan: CampaignPlan, report_progress: ProgressCallback
    ) -> CampaignPlan:
        """Build the wheels that a plan needs, and return a new plan if there were any."""
        while plan.builds:
            mirror = self._settings.mirror_folder
            await asyncio.to_thread(self._builder.build, plan.builds, mirror, report_progress)
            plan = await self.plan(request)
        return plan

    async def submit(
        self,
        request: CampaignRequest,
        plan: CampaignPlan,
        report_progress: ProgressCallback,
        who: str,
        purpose: str = "",
    ) -> CampaignPlan:
        """Build and obtain what a plan's jobs need, then store and schedule them for `who`.

        Returns:
            The plan that was stored. It differs from `plan` if wheels had to be built first.
        """
        mirror = self._settings.mirror_folder
        plan = await self.built(request, plan, report_progress)
        sources = {sha: source for r in plan.resolutions for sha, source in r.sources.items()}

        def get() -> None:
            obtain(sources, self._blobs, mirror, report_progress)
            for content in plan.locks.values():
                self._blobs.put_bytes(content)

        await asyncio.to_thread(get)
        unsigned = await self._release_manager.cover(plan.locks, report_progress)
        campaign = NewCampaign(
            request.campaign_id,
            request.benchmark,
            request.selector,
            request.profile,
            asdict(request),
            request.submitted_by,
            purpose,
            request.cool_down_s,
        )
        new_jobs = [planned.job for planned in plan.jobs]

        def store(c: sqlite3.Connection, fx: Effects, now: int) -> None:
            if not campaigns.submit(c, fx, now, campaign, new_jobs, plan.locks):
                return
            releases.set_unsigned(c, unsigned)
            audit.add(
                c,
                now,
                who,
                "campaign.submit",
                campaign.campaign_id,
                benchmark=request.benchmark,
                selector=request.selector,
                jobs=len(new_jobs),
            )

        await self._transactions.run_operation_then_schedule(store)
        return plan
