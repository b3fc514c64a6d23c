"""Progress lines on file descriptor 3, without cost for the measured path."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator

_DESCRIPTOR = 3
_INTERVAL_S = 0.5


class ProgressReporter:
    """Non-blocking writer of `{"phase", "done", "total"}` lines, at most a few per second."""

    def __init__(self, descriptor: int = _DESCRIPTOR) -> None:
        """Use `descriptor` if it is a pipe or socket; otherwise nothing is ever written."""
        self._descriptor = -1
        self._last = 0.0
        self._phase = ""
        with contextlib.suppress(OSError):
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
                # A reader that does not read must not block a measurement.
                os.set_blocking(descriptor, False)
                self._descriptor = descriptor

    def report(self, phase: str, done: int = 0, total: int = 0) -> None:
        """Report the progress; drop the line if the last line of the same phase is too recent."""
        now = time.monotonic()
        if self._descriptor < 0 or (phase == self._phase and now - self._last < _INTERVAL_S / 2):
            return
        self._phase, self._last = phase, now
        line = json.dumps({"phase": phase, "done": done, "total": total}) + "\n"
        with contextlib.suppress(OSError):
            os.write(self._descriptor, line.encode())

    @contextlib.contextmanager
    def watching(self, phase: str, done: Callable[[], int], total: int) -> Iterator[None]:
        """Report `done()` of a phase twice a second from a thread while the body runs."""
        if self._descriptor < 0:
            yield
            return
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(_INTERVAL_S):
                self.report(phase, done(), total)

        self.report(phase, 0, total)
        thread = threading.Thread(target=watch, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
