"""Filter that drops progress reports of attempts that do not belong to the reporting device."""

from __future__ import annotations

import time

from fleetmark_controller.api import auth
from fleetmark_controller.engine.engine import Engine
from fleetmark_controller.store.jobs import attempts
from fleetmark_controller.store.jobs.attempts import AttemptKey
from fleetmark_core.errors import ErrorKind, FleetmarkError

_LOOK_AGAIN_S = 30.0
_MOST = 512


class ProgressFilter:
    """Filter of the progress reports on one stream."""

    def __init__(self, engine: Engine) -> None:
        """Check attempts in the store of one engine."""
        self._engine = engine
        self._known: dict[AttemptKey, tuple[float, bool]] = {}
        self._strange: set[AttemptKey] = set()

    async def may_show(self, key: AttemptKey) -> bool:
        """Return whether the attempt is the caller's and the newest of its job.

        An attempt that the caller never had is written to the audit log once. The stream continues,
        because a controller that was restored from a backup does not know attempts that devices
        hold.
        """
        looked_s, is_own = self._known.get(key, (0.0, False))
        now_s = time.monotonic()
        if looked_s and now_s - looked_s < _LOOK_AGAIN_S:
            return is_own
        newest = await self._engine.reader.run(lambda c: attempts.is_newest(c, key))
        while len(self._known) >= _MOST:
            self._known.pop(next(iter(self._known)))
        self._known[key] = (now_s, bool(newest))
        if newest is None and key not in self._strange and len(self._strange) < _MOST:
            self._strange.add(key)
            what = (
                f"progress of job {key.job_id}, epoch {key.epoch}: this device has no such attempt"
            )
            await auth.note(FleetmarkError(ErrorKind.FENCED, what))
        return bool(newest)
