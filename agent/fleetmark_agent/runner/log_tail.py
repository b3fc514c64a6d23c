"""Streaming of a running job's output to followers.

Without a follower nothing of this runs: while a job measures, an agent without followers only sends
heartbeats. A follower costs the device a few file operations every quarter of a second, and one
message for each of the two files with new output, at most `_RATE_BYTES` per second and file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.session.messages import AttemptRef, LogLines
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_core.regular_file import open_regular

FEATURE = "logs.v1"
"""Feature flag of the hello: the agent supports `SetLogTail`."""
_PAUSE_S = 0.25
_FIRST_BYTES = 16 * 1024
_RATE_BYTES = 256 * 1024
_STEP_BYTES = int(_RATE_BYTES * _PAUSE_S)


class Tails:
    """The attempts whose output is being followed."""

    def __init__(self, attempts: Path, send: Callable[[LogLines], None]) -> None:
        """Set the folder of all workspaces and the function that sends on the open stream."""
        self._attempts = attempts
        self._send = send
        self._tasks: dict[LocalAttemptKey, asyncio.Task[None]] = {}

    def want(self, ref: AttemptRef) -> None:
        """Send the last output of the attempt's job, and its new output from now on."""
        self.stop(ref.key)
        task = asyncio.get_running_loop().create_task(self._follow(ref))
        self._tasks[ref.key] = task

    def stop(self, key: LocalAttemptKey) -> None:
        """Stop streaming the output of the attempt."""
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    def stop_all(self) -> None:
        """Stop streaming all output: the stream is closed, so there are no followers."""
        for key in list(self._tasks):
            self.stop(key)

    async def _follow(self, ref: AttemptRef) -> None:
        workspace = Workspace(self._attempts, ref.key)
        files = {"stdout": workspace.stdout, "stderr": workspace.stderr}
        offsets: dict[str, int] = {}
        seen = False
        while True:
            # Checked before the files are read, so that output written before the end is not
            # missed.
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
    """Return bytes of a file from `offset` (None: its last ones), and the offset of their start."""
    try:
        with open_regular(path) as file:
            if offset is None:
                size = file.seek(0, os.SEEK_END)
                offset = max(0, size - _FIRST_BYTES)
            file.seek(offset)
            return offset, file.read(_STEP_BYTES)
    except OSError:
        return offset or 0, b""
