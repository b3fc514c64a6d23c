"""Child processes of the fleet bench: commands and events are lines on their pipes."""

from __future__ import annotations

import asyncio
import os
import queue
import resource
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from fleet_figures import Spent
from readings import memory_kib, spent_s

PATIENCE_S = 240.0
PROCESSES = 2
"""Number of processes that simulate the clients of a server."""


def raise_file_limit() -> None:
    """Raise the limit of open files to the hard limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def commands() -> AsyncIterator[list[str]]:
    """Yield the lines of standard input as words, until its end."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        yield line.split()


class Child:
    """One child process; its output lines are queued."""

    def __init__(
        self, words: Sequence[object], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start the process; its stderr is appended to `log`."""
        self._log = log
        self._name = " ".join(str(word) for word in words)
        with log.open("ab") as stderr_file:
            self.process = subprocess.Popen(
                [str(word) for word in words],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr_file,
                env={**os.environ, **(environment or {})},
                text=True,
            )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def send_line(self, line: str) -> None:
        """Write a line to the child."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def expect(self, word: str) -> list[str]:
        """Return the words after `word` of the next line that begins with it; drop other lines.

        Raises:
            RuntimeError: the child ended, or printed no such line in time.
        """
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                line = ""
            if not line:
                output = self._log.read_text(errors="replace").strip().splitlines()
                last = output[-1] if output else "no word"
                raise RuntimeError(f"{self._name} said no {word!r}: {last}")
            first, *rest = line.split()
            if first == word:
                return rest

    def expect_number(self) -> float:
        """Return the next line, which must be a number."""
        line = self._lines.get(timeout=PATIENCE_S)
        if not line:
            raise RuntimeError(f"{self._name} ended without a word")
        return float(line)

    def end(self) -> None:
        """Kill the child and wait for it."""
        with suppress(OSError):
            self.process.kill()
        self.process.wait()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip():
                self._lines.put(line)
        self._lines.put("")


class ClientProcesses:
    """Clients in several processes, which are killed at the end of the block."""

    def __init__(self, children: Sequence[Child]) -> None:
        """Take over started children."""
        self.children = children

    def __enter__(self) -> ClientProcesses:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in self.children:
            child.end()

    def ready(self) -> None:
        """Wait until all children are ready."""
        for child in self.children:
            child.expect("ready")

    def dial(self, count: int) -> float:
        """Connect `count` clients and wait until each was answered; return the start time.

        Their channel objects are created before the start, for agents, baseline and peers alike.
        """
        each = list(zip(self.children, shares(count, len(self.children)), strict=True))
        for child, share in each:
            child.send_line(f"prepare {share}")
        for child, _ in each:
            child.expect("prepared")
        began = time.monotonic()
        for child, share in each:
            child.send_line(f"dial {share}")
        self.last = max(float(child.expect("connected")[0]) for child in self.children)
        return began

    def leave(self) -> None:
        """Disconnect all clients."""
        for child in self.children:
            child.send_line("leave")
        for child in self.children:
            child.expect("left")


def shares(count: int, parts: int) -> list[int]:
    """Split `count` into nearly equal parts."""
    return [count // parts + (part < count % parts) for part in range(parts)]


def targets(size: int, firsts: Sequence[int], count: int) -> list[tuple[int, int]]:
    """Return process and number of `count` receivers, spread over all connected clients."""
    parts = shares(size, len(firsts))
    found = []
    for step in range(count):
        place = step % len(firsts)
        found.append((place, firsts[place] + (step * 37) % parts[place]))
    return found


class Pace:
    """Evenly spaced ticks at a given rate; a late caller does not catch up."""

    def __init__(self, rate: float) -> None:
        """Set the rate; the first tick is due immediately."""
        self._gap_s = 1 / rate
        self._due = time.monotonic()

    def wait(self) -> None:
        """Wait until the next tick is due."""
        time.sleep(max(0.0, self._due - time.monotonic()))
        self._due = max(self._due, time.monotonic() - self._gap_s) + self._gap_s


class Phase:
    """Measurement of the CPU time of a server and its clients, which share cores, in a block."""

    def __init__(self, spent: Spent, server: int, clients: Sequence[int]) -> None:
        """Write the result to `spent` at the end of the block; `server` and `clients` are pids."""
        self._spent, self._server, self._clients = spent, server, clients

    def __enter__(self) -> None:
        self._before = (time.monotonic(), *self._now())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        server_s, clients_s = self._now()
        self._spent.wall_s = time.monotonic() - self._before[0]
        self._spent.server_s = server_s - self._before[1]
        self._spent.clients_s = clients_s - self._before[2]

    def _now(self) -> tuple[float, float]:
        return spent_s(self._server), sum(map(spent_s, self._clients))


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    return memory_kib(pid)["rss"] / 1024
