"""Worker processes that evaluate logs, and their lifecycle."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.run_facts import RunFacts, RunInputs

R = TypeVar("R")


class EvaluationPool:
    """Pool of a few worker processes, which start when the first job is dispatched."""

    def __init__(self) -> None:
        """Set up without starting a process."""
        self.count = max(1, (os.cpu_count() or 2) // 2)
        self._pool: ProcessPoolExecutor | None = None

    def prepare(self) -> None:
        """Start the first worker when a job is dispatched, so that its result need not wait.

        A process that imports numpy takes longer to start than many small jobs take to run.
        """
        if self._pool is None:
            self._pool = self._make()
            try:
                self._pool.submit(ready)
            except OSError:
                # This host cannot start a process at the moment; `evaluate` will try again.
                self._pool = None

    async def evaluate(self, job: RunInputs) -> RunFacts:
        """Run `evaluate` in a worker and return its result.

        Raises:
            BrokenProcessPool: the worker died; the next call starts a new one.
        """
        return await self.run(evaluate, job)

    async def run(self, function: Callable[..., R], *arguments: object) -> R:
        """Run a function of a module in a worker and return its result; all values are pickled.

        Raises:
            BrokenProcessPool: the worker died; the next call starts a new one.
            Exception: the error that the function raised.
        """
        if self._pool is None:
            self._pool = self._make()
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
            raise

    def close(self) -> None:
        """Cancel queued evaluations and shut the pool down without waiting."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self.count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=end_with_controller,
        )


def ready() -> None:
    """Do nothing. A worker that runs it has imported everything that an evaluation needs."""


def end_with_controller() -> None:
    """Initialize a worker so that it exits when the controller does, even if that is killed.

    Otherwise a worker that waits for its next job would never exit.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=wait, name="end-with-controller", daemon=True).start()
