"""Schedules certificate renewal in the running agent. A helper process does the renewal."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from fleetmark_agent.state import identity
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger

log = get_logger(__name__)

_RENEWAL_S = 90.0
_MAX_LINE = 64 * 1024
_LOOK_S = 600.0
_AGAIN_S = 120.0


class Renewal:
    """Renewer of the certificate, before it expires and when the controller rejects it."""

    def __init__(
        self,
        home: Path,
        address: str,
        name: str,
        renewed: Callable[[], None],
        offset_ns: Callable[[], int],
    ) -> None:
        """Set up the schedule; nothing runs before `run`.

        Args:
            home: the agent's home.
            address: the address of the controller.
            name: the name of the device.
            renewed: called after each renewal.
            offset_ns: returns how far the controller's clock is ahead.
        """
        self._address, self._name = address, name
        self._home = home
        self._renewed = renewed
        self._offset_ns = offset_ns
        self._asked = asyncio.Event()
        self._tried_s = -_AGAIN_S

    def ask(self) -> None:
        """Request a renewal: the connection failed, maybe because the certificate has expired."""
        if time.monotonic() - self._tried_s >= _AGAIN_S:
            self._asked.set()

    async def run(self) -> None:
        """Renew on schedule and on request, until cancelled."""
        while True:
            known = identity.load_enrollment(self._home)
            if known is None:
                return  # no enrollment (a test, or it was removed): nothing to renew
            left_s = (known.renew_ns - time.time_ns() - self._offset_ns()) / 1e9
            # Wall clocks jump and devices sleep, so check again periodically.
            wait_s = min(max(left_s, 0.0), _LOOK_S)
            if left_s <= 0:
                wait_s = max(0.0, self._tried_s + _AGAIN_S - time.monotonic())
            try:
                await asyncio.wait_for(self._asked.wait(), wait_s)
            except asyncio.TimeoutError:
                if left_s > wait_s:
                    continue
            self._asked.clear()
            await self._try()

    async def _try(self) -> None:
        from fleetmark_agent.startup import enroll

        self._tried_s = time.monotonic()
        child = await asyncio.create_subprocess_exec(
            *enroll.COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_LINE,
        )
        try:
            if await asyncio.wait_for(self._hear(child), _RENEWAL_S):
                self._renewed()
        except FleetmarkError as error:
            if error.kind is not ErrorKind.UNREACHABLE:
                log.warning("certificate not renewed", error=error)
        except asyncio.TimeoutError:
            log.warning("certificate not renewed", error="the controller did not answer in time")
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()

    async def _hear(self, child: asyncio.subprocess.Process) -> bool:
        from fleetmark_agent.startup import enroll

        assert child.stdin is not None and child.stdout is not None
        task = enroll.EnrollmentRequest(
            str(self._home), self._address, self._name, renew=True, patient=False
        )
        child.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
        async for line in child.stdout:
            event = enroll.parse(line.decode(errors="replace"))
            if enroll.handle_event(event, threading.Event(), renew=True):
                return True
        return False
