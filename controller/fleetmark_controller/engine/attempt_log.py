"""Log lines about attempts: each names the device, job, epoch and campaign."""

from __future__ import annotations

import json
from collections.abc import Callable

from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.operations.effects import Effects
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_core.log import FieldLogger, get_logger

log = get_logger("fleetmark.controller")
_FAILURES = (AttemptOutcome.FAILED, AttemptOutcome.LOST, AttemptOutcome.GONE)


class AttemptLog:
    """Writer of one line when an attempt is dispatched, and one when it has ended."""

    def __init__(self, name_of: Callable[[str], str]) -> None:
        """Create a writer; `name_of` returns the name of a device by its id."""
        self._name_of = name_of

    def bind(self, key: AttemptKey, campaign_id: str) -> FieldLogger:
        """Return a logger whose lines name the attempt."""
        return log.bind(
            device=self._name_of(key.device_id),
            job=key.job_id,
            epoch=key.epoch,
            campaign=campaign_id,
        )

    async def record(self, effects: Effects) -> None:
        """Log the attempts that a committed operation dispatched or ended."""
        for offer in effects.offers:
            # The order is the controller's own document.
            self.bind(offer.key, json.loads(offer.order)["campaign_id"]).info("attempt dispatched")
        for end in effects.ended:
            bound = self.bind(end.key, end.campaign_id)
            write = bound.warning if end.outcome in _FAILURES else bound.info
            reason = {"reason": end.reason} if end.reason else {}
            write("attempt ended", outcome=end.outcome.value, **reason)
