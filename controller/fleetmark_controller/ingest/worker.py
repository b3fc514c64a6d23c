"""The life of the worker processes that evaluate logs."""

from __future__ import annotations

import multiprocessing
import os
import threading


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
