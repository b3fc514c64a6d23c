"""Tells watchers what changed: one subscription a watcher, nothing polls.

A watcher that is slower than the events loses nothing that still matters: of what waits for it,
a newer event about the same thing takes the place of the older one. So however many watch, and
however slowly, the controller keeps at most one event a job and kind for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Subscription(Generic[T]):
    """What waits for one watcher."""

    def __init__(self) -> None:
        """Nothing waits yet."""
        self._waiting: dict[Hashable, T] = {}
        self._some = asyncio.Event()
        self._closed = False

    def put(self, key: Hashable, event: T) -> None:
        """An event about `key`; an older one that still waits is forgotten."""
        # Put at the end, so that a job's last state never comes before another's earlier one.
        self._waiting.pop(key, None)
        self._waiting[key] = event
        self._some.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._some.set()

    async def get(self) -> T | None:
        """The next event; None at the end."""
        while not self._waiting:
            if self._closed:
                return None
            self._some.clear()
            await self._some.wait()
        return self._waiting.pop(next(iter(self._waiting)))


class Hub(Generic[T]):
    """Fans events of a topic out to its subscribers."""

    def __init__(self) -> None:
        """No topics yet."""
        self._subscribers: dict[str, set[Subscription[T]]] = {}

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[Subscription[T]]:
        """Everything that is published on `topic` from now on."""
        subscription: Subscription[T] = Subscription()
        self._subscribers.setdefault(topic, set()).add(subscription)
        try:
            yield subscription
        finally:
            self._subscribers[topic].discard(subscription)
            if not self._subscribers[topic]:
                del self._subscribers[topic]

    def listened(self, topic: str) -> bool:
        """Whether anybody subscribes to `topic`, so that nobody's events are not even made."""
        return topic in self._subscribers

    def publish(self, topic: str, key: Hashable, event: T) -> None:
        """Hand an event about `key` to every subscriber of `topic`."""
        for subscription in self._subscribers.get(topic, ()):
            subscription.put(key, event)

    def close(self) -> None:
        """Tell every subscriber that nothing more will come."""
        for subscriptions in self._subscribers.values():
            for subscription in subscriptions:
                subscription.close()
