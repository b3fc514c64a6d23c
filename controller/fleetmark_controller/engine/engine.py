"""The controller's core loop: runs operations, carries out their effects, watches leases.

Everything here is the shell around pure parts: operations decide inside transactions, presence
and scheduler are pure, and nothing is sent before it is durable.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from fleetmark_catalog.load import Catalog
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.artifacts.harness import pack_harness
from fleetmark_controller.engine.log_tail import Logs
from fleetmark_controller.engine.pubsub import Hub
from fleetmark_controller.engine.quarantine import Caretaker
from fleetmark_controller.engine.verification import check_readable, gather, inputs, judge
from fleetmark_controller.evaluation.evaluate import RunFacts, RunInputs
from fleetmark_controller.evaluation.pool import Workers
from fleetmark_controller.identity.model import Budget, State
from fleetmark_controller.identity.registry import Registry
from fleetmark_controller.lifecycle.retry_policy import Ending
from fleetmark_controller.lifecycle.states import AttemptState, JobState
from fleetmark_controller.operations import campaigns, dispatch, results, sessions
from fleetmark_controller.operations.effects import Effects, OfferEffect, StopEffect, TailEffect
from fleetmark_controller.operations.results import Judgement
from fleetmark_controller.planning.estimates import left_s
from fleetmark_controller.planning.model import NewCampaign
from fleetmark_controller.planning.plan import Plan, Request, estimated, make_plan
from fleetmark_controller.scheduling.model import Policy, Scheduler
from fleetmark_controller.scheduling.planner import Planner
from fleetmark_controller.scheduling.presence import Presence
from fleetmark_controller.server.settings import Settings
from fleetmark_controller.signing.order_signer import OrderSigner
from fleetmark_controller.signing.release_manager import Desk
from fleetmark_controller.signing.release_store import Keeper
from fleetmark_controller.store import epochs
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.db.writer import Writer
from fleetmark_controller.store.devices import saved_fleets
from fleetmark_controller.store.devices.calibrations import Paces
from fleetmark_controller.store.devices.device_cache import Roster
from fleetmark_controller.store.jobs import attempts, job_durations, listings
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.jobs.listings import JobLine
from fleetmark_controller.store.results import runs
from fleetmark_controller.store.security import audit, identities, releases
from fleetmark_controller.wheelbuild import Builder
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.clock import NS_PER_S, StepWatch, now_monotonic_ns, now_unix_ns
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import uuid7
from fleetmark_core.retry import Backoff

T = TypeVar("T")
Say = Callable[[str], None]
Operation = Callable[[sqlite3.Connection, Effects, int], T]
Outbox = Callable[[OfferEffect | StopEffect | TailEffect], None]
log = logging.getLogger("fleetmark.controller")


@dataclass(frozen=True)
class JobEvent:
    """How far a job is, as its device tells it. Not stored."""

    job_id: str
    device_id: str
    state: AttemptState
    phase: str
    done: int
    total: int
    temperature_c: float | None
    left_s: float | None = None
    """Seconds until it is done, estimated."""


@dataclass(frozen=True)
class _Open:
    """A job that is not terminal, for those who watch."""

    campaign_id: str
    expected_s: float
    active_since_ns: int
    """By the monotonic clock; 0: it is not active."""


class Engine:
    """One controller's state and tasks."""

    def __init__(
        self,
        store: Path,
        blobs: Path,
        settings: Settings,
        catalog: Catalog,
        scheduler: Scheduler | None = None,
        keeper: Keeper | None = None,
        signer: OrderSigner | None = None,
    ) -> None:
        """The store at `store` must have been migrated.

        Without `keeper` and `signer` orders are neither signed nor of a release.
        """
        self.settings = settings
        self.catalog = catalog
        self.blobs = BlobFolder(blobs)
        self.builder = Builder(store.parent, self.blobs)
        self.presence = Presence(int(settings.lease_s * NS_PER_S))
        self.registry = Registry()
        self.budget = Budget(settings.device_bytes_per_day)
        """What each board has handed in today, files and records."""
        self.changes: Hub[JobLine | JobEvent] = Hub()
        self.latest: dict[str, JobEvent] = {}
        """How far each device's job is, by what it said last."""
        self.controller_id = ""
        self.started_ns = now_unix_ns()
        self.reader = Reader(store)
        self._writer = Writer(store)
        self._roster = Roster()
        self._paces = Paces()
        self.scheduler: Scheduler = scheduler or Planner(
            Policy(settings.ageing_s, settings.quarantine_after, settings.cool_down_s)
        )
        self._outboxes: dict[str, Outbox] = {}
        self._open: dict[str, _Open] = {}  # jobs that are not terminal
        self.features: dict[str, frozenset[str]] = {}
        """What the agent of each device understands, by its last hello."""
        self.logs = Logs(self._ask)
        self._look = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._verifying: set[AttemptKey] = set()
        self._workers = Workers()
        self._verify_slots = asyncio.Semaphore(self._workers.count)
        self._caretaker = Caretaker(self)
        self.signer = signer
        self.desk = Desk(self, keeper)

    # --- life -----------------------------------------------------------------------------

    async def start(self, generation: int) -> None:
        """Take up what an earlier life left: leases get a full term, unjudged attempts a judge.

        `generation` is higher than any before; epochs of this life begin with it.
        """
        self.controller_id = await self._writer.run(lambda c: epochs.begin(c, uuid7(), generation))
        self.registry.update(await self.reader.run(identities.every))
        for line in await self.reader.run(lambda c: listings.list_jobs(c, state="ACTIVE")):
            self._open[line.job_id] = _Open(line.campaign_id, line.expected_s, now_monotonic_ns())
        for device_id in await self.reader.run(attempts.busy_devices):
            self.presence.expect(device_id, now_monotonic_ns())
        for key in await self.reader.run(attempts.unverified):
            self._verify(key)
        self._spawn(self._keep_scheduling())
        self._spawn(self._watch_leases())

    async def stop(self) -> None:
        """Finish running transactions and close the store. Judging goes on at the next start."""
        self.changes.close()
        self.builder.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._workers.close()
        self.reader.close()
        await asyncio.to_thread(self._writer.close)

    # --- operations -----------------------------------------------------------------------

    async def transact(self, operation: Operation[T]) -> tuple[T, Effects]:
        """Run an operation; returns after its commit, with effects that are not yet carried out."""

        def transaction(connection: sqlite3.Connection) -> tuple[T, Effects]:
            effects = Effects()
            return operation(connection, effects, now_unix_ns()), effects

        return await self._writer.run(transaction)

    async def perform(self, operation: Operation[T]) -> T:
        """Run an operation and carry out its effects."""
        result, effects = await self.transact(operation)
        await self.carry_out(effects)
        return result

    async def perform_and_schedule(self, operation: Operation[T]) -> T:
        """The same for what will make work: the scheduler's transaction follows at once.

        It stands behind the operation in the writer's queue and so shares its commit, if it can:
        a job and its first assignment become durable together.
        """
        done = asyncio.ensure_future(self.transact(operation))
        await asyncio.sleep(0)  # it is in the queue now
        self._look.set()
        result, effects = await done
        await self.carry_out(effects)
        return result

    async def carry_out(self, effects: Effects) -> None:
        """Send, publish, judge and schedule what a committed operation asks for."""
        if effects.identities:
            await self._recount(effects.identities)
        for content in effects.blobs:
            await asyncio.to_thread(self.blobs.put_bytes, content)
        messages: list[OfferEffect | StopEffect] = [*effects.stops, *effects.offers]
        for message in messages:
            outbox = self._outboxes.get(message.key.device_id)
            if outbox is not None:
                # A device that is not connected learns it from the answer to its next hello.
                outbox(message)
            if isinstance(message, OfferEffect):
                self.presence.occupied(message.key.device_id)
        if effects.offers:
            self._workers.prepare()
        for key in effects.verify:
            self._verify(key)
        if effects.schedule:
            self._look.set()
        if effects.jobs:
            lines = await self.reader.run(lambda c: listings.jobs_by_id(c, effects.jobs))
            # What follows a job first: who watches must not believe that it was the last one.
            for line in sorted(lines, key=lambda line: bool(line.finished_at)):
                self._publish(line)

    def count_sent(self, key: AttemptKey, count: int) -> None:
        """Note bytes of blobs that went to a board for an attempt; nobody waits for it."""

        async def note() -> None:
            await self._writer.run(lambda c: attempts.count_bytes(c, key, count))

        self._spawn(note())

    async def _recount(self, changed: set[str]) -> None:
        found = await self.reader.run(lambda c: identities.some(c, changed))
        for identity in found:
            if identity.state is not State.ACTIVE:
                self.presence.dismissed(identity.identity_id)
                self._outboxes.pop(identity.identity_id, None)
        self.registry.update(found)

    async def find(self, kind: str, prefix: str) -> str:
        """The id of a campaign, job or run that begins with `prefix`; `last`: the newest campaign.

        Raises:
            FleetmarkError: NOT_FOUND, or USAGE when several do.
        """
        look = (
            (lambda c: runs.find(c, prefix))
            if kind == "run"
            else (lambda c: listings.find(c, kind, prefix))
        )
        if kind == "campaign" and prefix == "last":
            look = listings.newest_campaign
        found = await self.reader.run(look)
        if not found:
            raise FleetmarkError(
                ErrorKind.NOT_FOUND, f"no {kind} {prefix!r}", next_step=_WHERE_TO_LOOK[kind]
            )
        if len(found) > 1:
            raise FleetmarkError(
                ErrorKind.USAGE,
                f"several {kind}s begin with {prefix!r}",
                next_step="Give more of the id",
            )
        return found[0]

    # --- campaigns ------------------------------------------------------------------------

    async def plan(self, request: Request, dry_run: bool = False) -> Plan:
        """Which jobs a request makes, on the devices that are registered now."""
        known, speeds, fleets = await self.reader.run(
            lambda c: (self._roster.every(c), self._paces.quickest(c), saved_fleets.every(c))
        )

        def work() -> Plan:
            harness, wheel = pack_harness()
            if not self.blobs.has(harness.sha256):
                self.blobs.put_bytes(wheel)
            catalog = self.catalog.knowing(self.builder.known())
            return make_plan(
                catalog, request, known, harness, now_unix_ns(), speeds, fleets, dry_run
            )

        plan = await asyncio.to_thread(work)
        keys = {planned.job.configuration_key for planned in plan.jobs}
        return estimated(plan, await self.reader.run(lambda c: job_durations.earlier(c, keys)))

    async def built(self, request: Request, plan: Plan, say: Say) -> Plan:
        """Build the wheels that a plan asks for, and plan anew where it does."""
        while plan.builds:
            mirror = self.settings.mirror_folder
            await asyncio.to_thread(self.builder.build, plan.builds, mirror, say)
            plan = await self.plan(request)
        return plan

    async def submit(
        self, request: Request, plan: Plan, say: Say, who: str, purpose: str = ""
    ) -> Plan:
        """Build and obtain what a plan's jobs need, then store and schedule them for `who`.

        Returns the plan that was stored: another one where wheels had to be built first.
        """
        mirror = self.settings.mirror_folder
        plan = await self.built(request, plan, say)
        sources = {sha: source for r in plan.resolutions for sha, source in r.sources.items()}

        def get() -> None:
            obtain(sources, self.blobs, mirror, say)
            for content in plan.locks.values():
                self.blobs.put_bytes(content)

        await asyncio.to_thread(get)
        unsigned = await self.desk.cover(plan.locks, say)
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
            campaigns.submit(c, fx, now, campaign, new_jobs, plan.locks)
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

        await self.perform_and_schedule(store)
        return plan

    # --- sessions -------------------------------------------------------------------------

    def open_session(
        self,
        device_id: str,
        boot_id: str,
        idle: bool,
        outbox: Outbox,
        features: frozenset[str] = frozenset(),
    ) -> int:
        """A device's stream is welcome; messages for it go to `outbox`. Returns its number."""
        self._outboxes[device_id] = outbox
        self.features[device_id] = features
        self.logs.is_back(device_id)
        return self.presence.connected(device_id, boot_id, idle, now_monotonic_ns())

    def close_session(self, device_id: str, session: int) -> None:
        """The stream ended, for whatever reason; its lease runs on."""
        if self.presence.current(device_id, session):
            self._outboxes.pop(device_id, None)
        self.presence.disconnected(device_id, session)

    def alive(self, device_id: str, session: int) -> None:
        """Something was heard of the device."""
        self.presence.alive(device_id, session, now_monotonic_ns())

    def heartbeat(self, device_id: str, session: int, idle: bool) -> None:
        """The device lives."""
        if self.presence.heartbeat(device_id, session, idle, now_monotonic_ns()):
            self._look.set()

    def progress(self, event: JobEvent) -> None:
        """Tell watchers how far a job is."""
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

    def _ask(self, message: TailEffect) -> None:
        outbox = self._outboxes.get(message.key.device_id)
        if outbox is not None:
            outbox(message)

    def _publish(self, line: JobLine) -> None:
        if line.state != JobState.ACTIVE.value:
            self.logs.ended(line.job_id)
        if line.finished_at:
            self._open.pop(line.job_id, None)
        else:
            before = self._open.get(line.job_id)
            since_ns = before.active_since_ns if before else 0
            if line.state == JobState.QUEUED.value:
                since_ns = 0
            elif not since_ns:
                since_ns = now_monotonic_ns()
            self._open[line.job_id] = _Open(line.campaign_id, line.expected_s, since_ns)
        self.changes.publish(line.campaign_id, ("job", line.job_id), line)

    # --- tasks ----------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the controller failed", exc_info=task.exception())

    async def _keep_scheduling(self) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            await self._insist("scheduling", self._assign)

    async def _assign(self) -> None:
        free = self.presence.free()
        if not free:
            return
        seen = self.presence.seen(now_monotonic_ns())
        again_ns = await self.perform(
            lambda c, effects, now: dispatch.assign(
                c, effects, now, seen, self.scheduler, free, self.desk.standing()
            )
        )
        if again_ns is not None:
            # Time alone frees a board: a rest or a reservation ends.
            delay_s = min(again_ns / NS_PER_S + 0.01, _LONGEST_PAUSE_S)
            asyncio.get_running_loop().call_later(delay_s, self._look.set)

    async def waits(self) -> dict[str, str]:
        """Of every job that waits: why, by the scheduler itself."""
        seen = self.presence.seen(now_monotonic_ns())
        return await self.reader.run(
            lambda c: dispatch.waits(c, now_unix_ns(), seen, self.scheduler, self.desk.standing())
        )

    def look(self) -> None:
        """Something changed that the scheduler should look at."""
        self._look.set()

    async def _watch_leases(self) -> None:
        pause_s = min(1.0, self.settings.lease_s / 4)
        clocks = StepWatch(now_unix_ns(), now_monotonic_ns())
        while True:
            await asyncio.sleep(pause_s)
            step_s = clocks.look(now_unix_ns(), now_monotonic_ns())
            if step_s:
                log.warning(
                    "this host's clock stepped by %+.0f s: times shown from now on do; leases,"
                    " durations and the order of results do not",
                    step_s,
                )
            for device_id in self.presence.expire(now_monotonic_ns()):
                log.warning("device %s: no contact for %g s", device_id, self.settings.lease_s)
                expire = partial(sessions.lease_expired, device_id=device_id)
                await self._insist("the end of a lease", partial(self.perform, expire))
            await self._insist("the deadline of jobs", self._end_overdue)
            self.registry.end_expired(now_unix_ns())
            for device_id in await self._insist("care of boards", self._caretaker.look):
                self._spawn(self._caretaker.check(device_id))

    async def _end_overdue(self) -> None:
        if await self.reader.run(lambda c: listings.any_overdue(c, now_unix_ns())):
            # They say what they waited for, as the scheduler has it now.
            await self.perform(partial(campaigns.end_overdue, waits=await self.waits()))

    async def _insist(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do it until it is done: a disk that is full or fails now may be mended while we run."""
        backoff = Backoff(*_RETRY_S)
        while True:
            try:
                return await work()
            except (OSError, sqlite3.Error, FleetmarkError) as error:
                if isinstance(error, FleetmarkError) and error.kind not in _PASSING:
                    raise
                log.error("%s has to wait: %s", what, error)
            await asyncio.sleep(backoff.next_s())

    # --- judging --------------------------------------------------------------------------

    def _verify(self, key: AttemptKey) -> None:
        if key not in self._verifying:
            self._verifying.add(key)
            self._spawn(self._judge(key))

    async def _judge(self, key: AttemptKey) -> None:
        try:
            judgement = await self._insist("judging a run", partial(self._judgement, key))
            finalise = partial(results.finalise, key=key, run_id=uuid7(), judgement=judgement)
            await self._insist("storing a run", partial(self.perform, finalise))
        finally:
            self._verifying.discard(key)

    async def _judgement(self, key: AttemptKey) -> Judgement:
        evidence = await self.reader.run(lambda c: gather(c, key, now_unix_ns()))
        if isinstance(evidence, Judgement):
            return evidence
        try:
            async with self._verify_slots:
                facts = await self._in_worker(inputs(evidence, self.blobs))
            # Whoever could not read a file said so in the facts. When it is we who cannot, the
            # board is not to blame: this raises, and the run is judged later.
            await asyncio.to_thread(check_readable, evidence, self.blobs)
        except BrokenProcessPool:
            return Judgement(
                Ending.FAILED, "its logs could not be evaluated: the worker died twice"
            )
        except OSError:
            raise
        except Exception as error:
            log.exception("attempt %s could not be judged", key)
            return Judgement(Ending.FAILED, f"its logs could not be evaluated: {error}")
        return await asyncio.to_thread(judge, evidence, facts, self.blobs, now_unix_ns())

    async def _in_worker(self, job: RunInputs) -> RunFacts:
        for attempt in (1, 2):
            try:
                return await self._workers.evaluate(job)
            except BrokenProcessPool:
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")


_RETRY_S = (0.5, 10.0)
_LONGEST_PAUSE_S = 3600.0
_PASSING = (ErrorKind.DISK_FULL, ErrorKind.STORE_UNUSABLE)
_WHERE_TO_LOOK = {
    "campaign": "See `controller jobs list`",
    "job": "See `controller jobs list`",
    "run": "See `controller results list --runs`",
}
