"""Live output of running jobs: requested from the device once, for any number of readers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fleetmark_controller.operations.effects import TailEffect
from fleetmark_controller.store.jobs.attempts import AttemptKey

_KEEP_BYTES = 64 * 1024
"""Bytes per stream that are kept for readers that attach later; both streams share the sum."""
_BACKLOG = 1000
"""Number of chunks that a slow reader may lag behind; then it loses the oldest."""


@dataclass(frozen=True)
class Chunk:
    """A piece of stdout or stderr; the last one has `end` set."""

    stream: str
    data: bytes
    end: bool = False
    until: int = 0
    """Offset in the file at which the next piece begins."""


class LogSubscriber:
    """The queue of one reader of live output."""

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque(maxlen=_BACKLOG)
        self._some = asyncio.Event()

    def put(self, chunk: Chunk) -> None:
        """Append a chunk; the oldest is dropped if the queue is full."""
        self._chunks.append(chunk)
        self._some.set()

    async def get(self) -> Chunk:
        """Wait for the next chunk, and return it."""
        while not self._chunks:
            self._some.clear()
            await self._some.wait()
        return self._chunks.popleft()


@dataclass
class _TailedAttempt:
    readers: set[LogSubscriber] = field(default_factory=set)
    kept: deque[Chunk] = field(default_factory=deque)
    kept_bytes: int = 0
    offsets: dict[str, int] = field(default_factory=dict)


class LogTailHub:
    """Distributor of the live output of attempts to their readers."""

    def __init__(self, ask: Callable[[TailEffect], None]) -> None:
        """Start without readers.

        Args:
            ask: sends a message to a device if it is connected.
        """
        self._ask = ask
        self._tails: dict[AttemptKey, _TailedAttempt] = {}

    @contextmanager
    def reading(self, key: AttemptKey) -> Iterator[LogSubscriber]:
        """Yield a reader of an attempt's output.

        The device is asked to start with the first reader, and to stop after the last one.
        """
        reader = LogSubscriber()
        tail = self._tails.get(key)
        if tail is None:
            tail = self._tails[key] = _TailedAttempt()
            self._ask(TailEffect(key, True))
        else:
            for chunk in tail.kept:
                reader.put(chunk)
        tail.readers.add(reader)
        try:
            yield reader
        finally:
            tail.readers.discard(reader)
            if not tail.readers and self._tails.get(key) is tail:
                del self._tails[key]
                self._ask(TailEffect(key, False))

    def written(self, key: AttemptKey, stream: str, offset: int, data: bytes, end: bool) -> None:
        """Deliver output reported by a device; bytes that were already delivered are dropped."""
        tail = self._tails.get(key)
        if tail is None or stream not in ("stdout", "stderr"):
            return
        known = tail.offsets.get(stream, offset)
        data = data[max(0, known - offset) :]
        if not data and not end and stream in tail.offsets:
            return  # no new bytes, even if the device repeats them
        tail.offsets[stream] = max(known, offset + len(data))
        chunk = Chunk(stream, data, end, tail.offsets[stream])
        tail.kept.append(chunk)
        tail.kept_bytes += len(data)
        while tail.kept_bytes > 2 * _KEEP_BYTES:
            tail.kept_bytes -= len(tail.kept.popleft().data)
        for reader in tail.readers:
            reader.put(chunk)

    def is_back(self, device_id: str) -> None:
        """Ask a device that opened a new stream again: it does not remember the readers."""
        for key in self._tails:
            if key.device_id == device_id:
                self._ask(TailEffect(key, True))

    def ended(self, job_id: str) -> None:
        """Tell readers that a job is no longer active, so that no more output follows."""
        for key, tail in self._tails.items():
            if key.job_id == job_id:
                for reader in tail.readers:
                    reader.put(Chunk("stdout", b"", end=True))
