"""Evaluation of finished attempts: evidence from the store, figures from a worker process."""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from pathlib import Path

from fleetmark_controller.engine.attempt_log import AttemptLog
from fleetmark_controller.engine.background import BackgroundTasks, retry_until_done
from fleetmark_controller.engine.transactions import Transactions
from fleetmark_controller.engine.verification import build_run, check_readable, gather, inputs
from fleetmark_controller.evaluation.pool import EvaluationPool
from fleetmark_controller.evaluation.power_meter import meter_energy
from fleetmark_controller.evaluation.power_meter.alignment import RunTimes
from fleetmark_controller.evaluation.power_meter.meter_energy import MeterEnergy
from fleetmark_controller.evaluation.power_meter.options import MeterOptions
from fleetmark_controller.evaluation.run_facts import RunFacts, RunInputs
from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.mllog import clean_text
from fleetmark_controller.operations import results
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.operations.results import Evaluation
from fleetmark_controller.store.db.reader import Reader
from fleetmark_controller.store.jobs import attempts, jobs
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.clock import now_unix_ns
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.ids import uuid7

_MAX_CAUSE = 300


class Evaluator:
    """Runner of evaluations: each finished attempt once, a few at a time."""

    def __init__(
        self,
        reader: Reader,
        transactions: Transactions,
        blobs: BlobFolder,
        tasks: BackgroundTasks,
        attempt_log: AttemptLog,
    ) -> None:
        """Start without worker processes."""
        self._attempt_log = attempt_log
        self._reader = reader
        self._transactions = transactions
        self._blobs = blobs
        self._tasks = tasks
        self._evaluating: set[AttemptKey] = set()
        self._workers = EvaluationPool()
        self._slots = asyncio.Semaphore(self._workers.count)

    async def load(self) -> None:
        """Start evaluating the attempts that an earlier process left unevaluated."""
        for key in await self._reader.run(attempts.list_ready_for_evaluation):
            self._start(key)

    def close(self) -> None:
        """Stop the worker processes; evaluation continues at the next start."""
        self._workers.close()

    async def evaluate_finished(self, effects: Effects) -> None:
        """Start evaluating finished attempts; prepare a worker when work was sent to a device."""
        if effects.offers:
            self._workers.prepare()
        for key in effects.verify:
            self._start(key)

    async def read_meter_log(
        self, path: Path, options: MeterOptions, times: RunTimes
    ) -> MeterEnergy:
        """Return the energy of a run from a power meter's log, read in a worker process.

        Raises:
            IngestError: the log is not valid or does not match the run.
        """
        try:
            async with self._slots:
                return await self._workers.run(meter_energy.evaluate, str(path), options, times)
        except BrokenProcessPool as error:
            raise IngestError("cannot be read: the worker process died") from error

    def _start(self, key: AttemptKey) -> None:
        if key not in self._evaluating:
            self._evaluating.add(key)
            self._tasks.spawn(self._evaluate(key))

    async def _evaluate(self, key: AttemptKey) -> None:
        try:
            judgement = await retry_until_done("evaluate a run", partial(self._judgement, key))
            await self._store(key, judgement)
        except Exception as error:
            # Every attempt must end in a run or in a failure with a reason. A second try would fail
            # in the same way, and the job would stay in VERIFYING.
            await self._log_failure(key, error)
            reason = f"the evaluation of its results failed: {_cause(error)}"
            await self._store(
                key, Evaluation(AttemptOutcome.FAILED, reason, cause=FailureCause.CONTROLLER)
            )
        finally:
            self._evaluating.discard(key)

    async def _log_failure(self, key: AttemptKey, error: Exception) -> None:
        campaign_id = ""
        with suppress(OSError, sqlite3.Error, FleetmarkError):
            job = await self._reader.run(lambda c: jobs.get(c, key.job_id))
            campaign_id = job.campaign_id if job else ""
        self._attempt_log.bind(key, campaign_id).failure("evaluation failed", error)

    async def _store(self, key: AttemptKey, judgement: Evaluation) -> None:
        finalise = partial(results.finalise, key=key, run_id=uuid7(), judgement=judgement)
        perform = partial(self._transactions.run_operation, finalise)
        await retry_until_done("store a run", perform)

    async def _judgement(self, key: AttemptKey) -> Evaluation:
        evidence = await self._reader.run(lambda c: gather(c, key, now_unix_ns()))
        if isinstance(evidence, Evaluation):
            return evidence
        try:
            async with self._slots:
                facts = await self._in_worker(inputs(evidence, self._blobs))
            # A worker that cannot read a file reports that in the facts. If the controller cannot
            # read it either, the device is not to blame: this raises, and a later try evaluates the
            # run.
            await asyncio.to_thread(check_readable, evidence, self._blobs)
        except BrokenProcessPool:
            return Evaluation(
                AttemptOutcome.FAILED,
                "the evaluation of its logs failed: the worker process died twice",
                cause=FailureCause.CONTROLLER,
            )
        return await asyncio.to_thread(build_run, evidence, facts, self._blobs, now_unix_ns())

    async def _in_worker(self, job: RunInputs) -> RunFacts:
        for attempt in (1, 2):
            try:
                return await self._workers.evaluate(job)
            except BrokenProcessPool:
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")


def _cause(error: Exception) -> str:
    """Return an error as one bounded line; its text may contain data from a device."""
    return clean_text(f"{type(error).__name__}: {error}")[:_MAX_CAUSE]
