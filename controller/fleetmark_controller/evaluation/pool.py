"""The worker processes that evaluate logs, and their life."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from fleetmark_controller.evaluation.evaluate import RunFacts, RunInputs, evaluate


class Workers:
    """A few processes, started when there is something to expect, and kept."""

    def __init__(self) -> None:
        """No process is started yet."""
        self.count = max(1, (os.cpu_count() or 2) // 2)
        self._pool: ProcessPoolExecutor | None = None

    def prepare(self) -> None:
        """A job was given out: start the first worker now, so that its result need not wait.

        A process with numpy in it takes longer to start than many a small job takes to run.
        """
        if self._pool is None:
            self._pool = self._make()
            try:
                self._pool.submit(ready)
            except OSError:
                # This host cannot start a process just now; evaluating will try again.
                self._pool = None

    async def evaluate(self, job: RunInputs) -> RunFacts:
        """What `evaluate` finds, in a worker.

        Raises:
            BrokenProcessPool: the worker died; the next call has a new one.
        """
        if self._pool is None:
            self._pool = self._make()
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, evaluate, job)
        except BrokenProcessPool:
            if self._pool is pool:
                self._pool = None
            raise

    def close(self) -> None:
        """Let go of what runs."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self.count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=end_with_controller,
        )


def ready() -> None:
    """Nothing: a worker that did it has imported all that evaluating needs."""


def end_with_controller() -> None:
    """Initialise a worker: it ends when the controller does, even when that was killed.

    A worker that waits for its next job would otherwise wait for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(0)

    threading.Thread(target=wait, name="end-with-controller", daemon=True).start()
