"""Loggers whose lines name an attempt: its job, epoch and campaign."""

from __future__ import annotations

from contextlib import suppress

from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.log import FieldLogger


class AttemptLoggers:
    """Loggers of the attempts that the device holds."""

    def __init__(self, log: FieldLogger) -> None:
        """Start without attempts; `log` receives the lines."""
        self._log = log
        self._known: dict[LocalAttemptKey, FieldLogger] = {}

    def add(self, key: LocalAttemptKey, order: bytes) -> FieldLogger:
        """Return the logger of an attempt, and keep it; `order` names the campaign, if it can."""
        bound = self._log.bind(job=key.job_id, epoch=key.epoch)
        if order:
            # Imported only when an attempt exists, because many agents idle for days.
            from fleetmark_core.order import parse_order

            # An order that is not valid is refused with the reason.
            with suppress(FleetmarkError):
                bound = bound.bind(campaign=parse_order(order).campaign_id)
        self._known[key] = bound
        return bound

    def get(self, key: LocalAttemptKey) -> FieldLogger:
        """Return the logger of an attempt; without a campaign if the attempt was not added."""
        return self._known.get(key) or self._log.bind(job=key.job_id, epoch=key.epoch)

    def remove(self, key: LocalAttemptKey) -> None:
        """Drop the logger of an attempt that the device no longer holds."""
        self._known.pop(key, None)
