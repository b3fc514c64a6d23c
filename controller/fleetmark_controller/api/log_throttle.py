"""Throttling of log lines: the first events of a burst are logged, the others only counted."""

from __future__ import annotations

import asyncio

from fleetmark_core.log import FieldLogger

_EACH = 20
_WINDOW_S = 1.0


class BurstLogger:
    """Logger of devices that connect or disconnect; a whole fleet may reconnect within a second."""

    def __init__(self, log: FieldLogger, what: str, window_s: float = _WINDOW_S) -> None:
        """Create a logger of one kind of event.

        Args:
            log: receives the lines.
            what: what the devices did, as in `device connected`.
            window_s: the period for which events are counted.
        """
        self._log = log
        self._event, self._more_event = f"device {what}", f"more devices {what}"
        self._window_s = window_s
        self._count = 0

    def note(self, device: str, device_id: str) -> None:
        """Log or count the event of one device."""
        if self._count == 0:
            asyncio.get_running_loop().call_later(self._window_s, self._end)
        self._count += 1
        if self._count <= _EACH:
            self._log.info(self._event, device=device, device_id=device_id)

    def _end(self) -> None:
        more, self._count = self._count - _EACH, 0
        if more > 0:
            self._log.info(self._more_event, count=more, hint="The view events lists all")
