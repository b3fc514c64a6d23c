"""The controller's core: it composes the other parts, and starts and stops them.

The engine is the I/O shell around pure parts: operations decide inside transactions, presence and
scheduler are pure, and nothing is sent before it is durable.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from fleetmark_catalog.load import Catalog
from fleetmark_controller.engine.attempt_log import AttemptLog
from fleetmark_controller.engine.background import BackgroundTasks
from fleetmark_controller.engine.clone_guard import CloneGuard
from fleetmark_controller.engine.device_streams import DeviceStreams
from fleetmark_controller.engine.dispatcher import Dispatcher
from fleetmark_controller.engine.evaluator import Evaluator
from fleetmark_controller.engine.job_watch import JobWatch
from fleetmark_controller.engine.lease_monitor import LeaseMonitor
from fleetmark_controller.engine.lookup import find_id
from fleetmark_controller.engine.quarantine import QuarantineMonitor
from fleetmark_controller.engine.release_manager import ReleaseManager
from fleetmark_controller.engine.submission import Submission
from fleetmark_controller.engine.transactions import Transactions
from fleetmark_controller.engine.wait_reasons import WaitReasons
from fleetmark_controller.evaluation.power_meter.alignment import RunTimes
from fleetmark_controller.evaluation.power_meter.meter_energy import MeterEnergy
from fleetmark_controller.evaluation.power_meter.options import MeterOptions
from fleetmark_controller.home.settings import ControllerSettings
from fleetmark_controller.identity.model import ByteBudget, IdentityKind
from fleetmark_controller.identity.registry import Registry
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.scheduling.model import Policy, Scheduler
from fleetmark_controller.scheduling.planner import Planner
from fleetmark_controller.scheduling.presence import Presence
from fleetmark_controller.signing.order_signer import OrderSigner
from fleetmark_controller.signing.release_store import ReleaseStore
from fleetmark_controller.store import epochs
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.db.writer import Writer
from fleetmark_controller.store.jobs import attempts
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_controller.store.security import identities
from fleetmark_controller.wheelbuild import Builder
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.clock import NS_PER_S, now_monotonic_ns, now_unix_ns
from fleetmark_core.ids import uuid7


class Engine:
    """The state and tasks of one controller."""

    def __init__(
        self,
        store: Path,
        blobs: Path,
        settings: ControllerSettings,
        catalog: Catalog,
        scheduler: Scheduler | None = None,
        keeper: ReleaseStore | None = None,
        signer: OrderSigner | None = None,
    ) -> None:
        """Compose the parts; the store at `store` must have been migrated.

        Without `keeper` and `signer`, orders are not signed and name no release.
        """
        self.settings = settings
        self.catalog = catalog
        self.signer = signer
        self.controller_id = ""
        self.started_ns = now_unix_ns()
        self.blobs = BlobFolder(blobs)
        self.builder = Builder(store.parent, self.blobs)
        self.presence = Presence(int(settings.lease_s * NS_PER_S))
        self.registry = Registry(
            {
                IdentityKind.DEVICE: settings.calls_per_device,
                IdentityKind.OPERATOR: settings.calls_per_operator,
            }
        )
        self.budget = ByteBudget(settings.device_bytes_per_day)
        """Bytes that each device has uploaded today, as files and records."""
        self.reader = Reader(store)
        self._writer = Writer(store)
        self._tasks = BackgroundTasks()
        wanted = asyncio.Event()
        self.transactions = Transactions(self._writer, wanted)
        self.streams = DeviceStreams(self.reader, self.presence, self.registry, wanted)
        self.clones = CloneGuard(self.reader, self.transactions, self.presence)
        self.jobs = JobWatch(self.reader, self.streams.logs)
        self.release_manager = ReleaseManager(
            keeper, lambda: self.catalog, self.reader, self.transactions, self.blobs, self.builder
        )
        self.submission = Submission(
            settings,
            lambda: self.catalog,
            self.reader,
            self.transactions,
            self.blobs,
            self.builder,
            self.release_manager,
            lambda: self.presence.online_ids(now_monotonic_ns()),
        )
        self.dispatcher = Dispatcher(
            self.reader,
            self.transactions,
            self.presence,
            scheduler
            or Planner(Policy(settings.ageing_s, settings.quarantine_after, settings.cool_down_s)),
            self.release_manager.signing_status,
            wanted,
        )
        self.wait_reasons = WaitReasons(self.dispatcher.waits)
        attempt_log = AttemptLog(self.registry.name_of)
        self._evaluator = Evaluator(
            self.reader, self.transactions, self.blobs, self._tasks, attempt_log
        )
        self._leases = LeaseMonitor(
            settings.lease_s,
            self.reader,
            self.transactions,
            self.presence,
            self.registry,
            self.dispatcher,
            QuarantineMonitor(settings, self.reader, self.transactions, self.submission),
            self._tasks,
        )
        for handler in (
            self.streams.refresh_identities,
            attempt_log.record,
            self._store_blobs,
            self.streams.send_messages,
            self._evaluator.evaluate_finished,
            self.transactions.request_scheduling,
            self.jobs.publish_jobs,
        ):
            self.transactions.add_handler(handler)

    async def start(self, generation: int) -> None:
        """Start the tasks, and resume the work of an earlier process.

        Devices with live attempts get a full lease to reconnect, and finished attempts are
        evaluated.

        Args:
            generation: higher than any generation before; new epochs begin with it.
        """
        self.controller_id = await self._writer.run(
            lambda c: epochs.start_generation(c, uuid7(), generation)
        )
        self.registry.update(await self.reader.run(identities.list_all))
        await self.jobs.load()
        for device_id in await self.reader.run(attempts.busy_devices):
            self.presence.restore_lease(device_id, now_monotonic_ns())
        await self._evaluator.load()
        self._tasks.spawn(self.dispatcher.run())
        self._tasks.spawn(self._leases.run())

    async def stop(self) -> None:
        """Finish running transactions and close the store; the next start continues evaluation."""
        self.jobs.changes.close()
        self.builder.stop()
        await self._tasks.cancel()
        self._evaluator.close()
        self.reader.close()
        await asyncio.to_thread(self._writer.close)

    def count_sent(self, key: AttemptKey, count: int) -> None:
        """Record in the background how many bytes of blobs were sent to a device for an attempt."""

        async def note() -> None:
            await self._writer.run(lambda c: attempts.count_bytes(c, key, count))

        self._tasks.spawn(note())

    async def read_meter_log(
        self, path: Path, options: MeterOptions, times: RunTimes
    ) -> MeterEnergy:
        """Return the energy of a run from a power meter's log, see `Evaluator.read_meter_log`."""
        return await self._evaluator.read_meter_log(path, options, times)

    async def find(self, kind: str, part: str) -> str:
        """Return the id of the campaign, job or run that `part` names, see `find_id`."""
        return await find_id(self.reader, kind, part)

    async def _store_blobs(self, effects: Effects) -> None:
        for content in effects.blobs:
            await asyncio.to_thread(self.blobs.put_bytes, content)
