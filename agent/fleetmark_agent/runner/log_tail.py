"""Lets somebody read along what a running job writes.

Nothing of this runs unless somebody asked for it: while a job measures, an agent that nobody reads
along only heartbeats. Whoever reads along costs the board two `stat` calls every quarter of a
second and one message when something was written, at most `_RATE_BYTES` a second.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.session.messages import AttemptRef, LogLines
from fleetmark_agent.state.attempt_key import AttemptKey
from fleetmark_core.regular_file import open_regular

FEATURE = "logs.v1"
"""An agent that says so in its hello understands `Tail`."""
_PAUSE_S = 0.25
_FIRST_BYTES = 16 * 1024
_RATE_BYTES = 256 * 1024
_STEP_BYTES = int(_RATE_BYTES * _PAUSE_S)


class Tails:
    """The attempts that somebody reads along."""

    def __init__(self, attempts: Path, send: Callable[[LogLines], None]) -> None:
        """`attempts` is the folder of all workspaces; `send` says something on the open stream."""
        self._attempts = attempts
        self._send = send
        self._tasks: dict[AttemptKey, asyncio.Task[None]] = {}

    def want(self, ref: AttemptRef) -> None:
        """Send what the attempt's job wrote last, and what it writes from now on."""
        self.stop(ref.key)
        task = asyncio.get_running_loop().create_task(self._follow(ref))
        self._tasks[ref.key] = task

    def stop(self, key: AttemptKey) -> None:
        """Nobody reads along any more."""
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    def stop_all(self) -> None:
        """The stream is gone, and with it whoever read along."""
        for key in list(self._tasks):
            self.stop(key)

    async def _follow(self, ref: AttemptRef) -> None:
        workspace = Workspace(self._attempts, ref.key)
        files = {"stdout": workspace.stdout, "stderr": workspace.stderr}
        offsets: dict[str, int] = {}
        seen = False
        while True:
            # Looked at before the files are read: what was written before the end is not missed.
            there = workspace.root.exists()
            over = workspace.outcome.exists() or (seen and not there)
            seen = seen or there
            more = False
            for name, path in files.items():
                first = name not in offsets
                start, data = _read(path, offsets.get(name))
                offsets[name] = start + len(data)
                more = more or len(data) == _STEP_BYTES
                if data or first:
                    self._send(LogLines(ref, name, start, data))
            if over and not more:
                self._send(LogLines(ref, "stdout", offsets["stdout"], b"", end=True))
                self._tasks.pop(ref.key, None)
                return
            await asyncio.sleep(_PAUSE_S)


def _read(path: Path, offset: int | None) -> tuple[int, bytes]:
    """Bytes of a file from `offset` (None: its last ones), and where they begin."""
    try:
        with open_regular(path) as file:
            if offset is None:
                size = file.seek(0, os.SEEK_END)
                offset = max(0, size - _FIRST_BYTES)
            file.seek(offset)
            return offset, file.read(_STEP_BYTES)
    except OSError:
        return offset or 0, b""
