"""Throttling of log lines: the first events of a burst are logged, the others only counted."""

from __future__ import annotations

import asyncio
import logging

_EACH = 20
_WINDOW_S = 1.0


class BurstLogger:
    """Logger of devices that connect or disconnect; a whole fleet may reconnect within a second."""

    def __init__(self, log: logging.Logger, what: str, window_s: float = _WINDOW_S) -> None:
        """Create a logger of one kind of event.

        Args:
            log: receives the lines.
            what: the event, such as `connected`.
            window_s: the period for which events are counted.
        """
        self._log = log
        self._what = what
        self._window_s = window_s
        self._count = 0

    def note(self, who: str) -> None:
        """Log or count the event of one device."""
        if self._count == 0:
            asyncio.get_running_loop().call_later(self._window_s, self._end)
        self._count += 1
        if self._count <= _EACH:
            self._log.info("device %s %s", who, self._what)

    def _end(self) -> None:
        more, self._count = self._count - _EACH, 0
        if more > 0:
            self._log.info("%d more devices %s; see the events", more, self._what)
