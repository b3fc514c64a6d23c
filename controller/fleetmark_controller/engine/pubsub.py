"""Publication of changes to watchers: one subscription per watcher, without polling.

A watcher that is slower than the events loses nothing that still matters: a newer event about the
same subject replaces an older one in its queue. The controller therefore keeps at most one event
per job and kind for each watcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Subscription(Generic[T]):
    """The queue of one watcher."""

    def __init__(self) -> None:
        """Start with an empty queue."""
        self._waiting: dict[Hashable, T] = {}
        self._some = asyncio.Event()
        self._closed = False

    def put(self, key: Hashable, event: T) -> None:
        """Append an event about `key`; it replaces an older one that is still in the queue."""
        # Move it to the end: a job's last state must not precede an earlier event of another.
        self._waiting.pop(key, None)
        self._waiting[key] = event
        self._some.set()

    def close(self) -> None:
        """End the subscription after the queued events."""
        self._closed = True
        self._some.set()

    async def get(self) -> T | None:
        """Wait for the next event, and return it; None at the end."""
        while not self._waiting:
            if self._closed:
                return None
            self._some.clear()
            await self._some.wait()
        return self._waiting.pop(next(iter(self._waiting)))


class Hub(Generic[T]):
    """Distributor of the events of a topic to its subscribers."""

    def __init__(self) -> None:
        """Start without topics."""
        self._subscribers: dict[str, set[Subscription[T]]] = {}

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[Subscription[T]]:
        """Yield a subscription to all events that are published on `topic` from now on."""
        subscription: Subscription[T] = Subscription()
        self._subscribers.setdefault(topic, set()).add(subscription)
        try:
            yield subscription
        finally:
            self._subscribers[topic].discard(subscription)
            if not self._subscribers[topic]:
                del self._subscribers[topic]

    def listened(self, topic: str) -> bool:
        """Return whether `topic` has subscribers, so that unneeded events need not be built."""
        return topic in self._subscribers

    def publish(self, topic: str, key: Hashable, event: T) -> None:
        """Deliver an event about `key` to every subscriber of `topic`."""
        for subscription in self._subscribers.get(topic, ()):
            subscription.put(key, event)

    def close(self) -> None:
        """End all subscriptions."""
        for subscriptions in self._subscribers.values():
            for subscription in subscriptions:
                subscription.close()
