"""Log lines of what many devices do at once: the first ones each, of the others how many."""

from __future__ import annotations

import asyncio
import logging

_EACH = 20
_WINDOW_S = 1.0


class Crowd:
    """Devices that come or go. A fleet that lost its controller comes back in a second."""

    def __init__(self, log: logging.Logger, what: str, window_s: float = _WINDOW_S) -> None:
        """`what` they do: connected."""
        self._log = log
        self._what = what
        self._window_s = window_s
        self._count = 0

    def note(self, who: str) -> None:
        """One device does it."""
        if self._count == 0:
            asyncio.get_running_loop().call_later(self._window_s, self._end)
        self._count += 1
        if self._count <= _EACH:
            self._log.info("device %s %s", who, self._what)

    def _end(self) -> None:
        more, self._count = self._count - _EACH, 0
        if more > 0:
            self._log.info("%d more devices %s, see the events", more, self._what)
