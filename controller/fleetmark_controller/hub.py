"""Tells watchers what changed: one subscription a watcher, nothing polls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Hub(Generic[T]):
    """Fans events of a topic out to its subscribers."""

    def __init__(self) -> None:
        """No topics yet."""
        self._subscribers: dict[str, set[asyncio.Queue[T | None]]] = {}

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[asyncio.Queue[T | None]]:
        """A queue of everything that is published on `topic` from now on; None: the end."""
        queue: asyncio.Queue[T | None] = asyncio.Queue()
        self._subscribers.setdefault(topic, set()).add(queue)
        try:
            yield queue
        finally:
            self._subscribers[topic].discard(queue)
            if not self._subscribers[topic]:
                del self._subscribers[topic]

    def listened(self, topic: str) -> bool:
        """Whether anybody subscribes to `topic`, so that nobody's events are not even made."""
        return topic in self._subscribers

    def publish(self, topic: str, event: T) -> None:
        """Hand an event to every subscriber of `topic`."""
        for queue in self._subscribers.get(topic, ()):
            queue.put_nowait(event)

    def close(self) -> None:
        """Tell every subscriber that nothing more will come."""
        for queues in self._subscribers.values():
            for queue in queues:
                queue.put_nowait(None)
