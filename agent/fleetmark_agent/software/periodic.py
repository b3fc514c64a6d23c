"""Schedules detection: after registration, periodically, and on request (SIGHUP).

A short-lived helper process does the detection. Jobs take precedence: no detection runs while a job
is prepared or measured, and a detection that a job interrupts is repeated afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from fleetmark_agent.software import detection_cache
from fleetmark_agent.software.client import COMMAND, GRACE_S, TIME_LIMIT_S
from fleetmark_agent.software.models import DetectedSoftware, DetectionStatus, last_line
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_core.serde import parse_trusted

log = get_logger(__name__)

_SETTLE_S = 5.0


class DetectionSchedule:
    """Schedule that keeps the known software of the device up to date."""

    def __init__(
        self,
        home: Path,
        interval_s: float,
        last: DetectedSoftware | None,
        tell: Callable[[DetectedSoftware], None],
    ) -> None:
        """Set up the schedule; nothing runs before `run`.

        Args:
            home: the agent's home, where detections are stored.
            interval_s: seconds between detections; 0 detects only on request.
            last: the stored detection, if there is one.
            tell: called with every completed detection.
        """
        self._home = home
        self._interval_s = interval_s
        self._tell = tell
        self._begin = asyncio.Event()
        self._asked = asyncio.Event()
        self._quiet = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._interrupted = False
        if interval_s and not (last is not None and detection_cache.is_fresh(last)):
            self._asked.set()

    def start(self) -> None:
        """Allow detection: the agent is registered with the controller."""
        self._begin.set()

    def wake(self) -> None:
        """Request a detection now, or as soon as no job runs."""
        self._asked.set()
        self._begin.set()

    def quiet(self, quiet: bool) -> None:
        """Set whether the device is idle. If it is not, abort a running detection."""
        if quiet:
            self._quiet.set()
            return
        self._quiet.clear()
        if self._process is not None and not self._interrupted:
            self._interrupted = True
            _end(self._process)

    async def run(self) -> None:
        """Detect on schedule and on request, until cancelled."""
        await self._begin.wait()
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._asked.wait(), self._interval_s or None)
            self._asked.clear()
            await self._detect_if_due()

    async def _detect_if_due(self) -> None:
        while True:
            await self._quiet.wait()
            self._interrupted = False
            detection = await self._detect()
            if detection is not None:
                detection_cache.save(self._home, detection)
                broken = [f for f in detection.findings if f.verdict is DetectionStatus.BROKEN]
                log.info(
                    "software detected",
                    found=sum(f.verdict is DetectionStatus.FOUND for f in detection.findings),
                    broken=len(broken),
                    duration_s=round(detection.duration_s, 1),
                )
                self._tell(detection)
            if not self._interrupted:
                return
            # Jobs often follow each other; the gap between two is too short for a detection.
            await asyncio.sleep(_SETTLE_S)

    async def _detect(self) -> DetectedSoftware | None:
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                *COMMAND, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe
            )
        except OSError as error:
            log.warning("software detection failed", error=error.strerror or error)
            return None
        self._process = process
        try:
            if not self._quiet.is_set():
                self._interrupted = True
                return None
            out, errors = await asyncio.wait_for(process.communicate(), TIME_LIMIT_S)
        except asyncio.TimeoutError:
            log.warning(
                "software detection failed", error=f"time limit of {TIME_LIMIT_S:g} s exceeded"
            )
            return None
        finally:
            self._process = None
            await _ended(process)
        if self._interrupted:
            return None
        try:
            if process.returncode == 0:
                return parse_trusted(DetectedSoftware, out, "software")
            what = last_line(errors.decode(errors="replace")) or f"exit code {process.returncode}"
        except FleetmarkError as error:
            what = str(error)
        log.warning("software detection failed", error=what)
        return None


def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Terminate the process and wait for it; on SIGTERM it ends its own children."""
    if process.returncode is not None:
        return
    _end(process)
    try:
        await asyncio.wait_for(asyncio.shield(process.wait()), GRACE_S)
    except asyncio.TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
