"""Gets this board its identity, by a helper process; says meanwhile what is waited for."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleetmark_agent import identity
from fleetmark_agent.identity import ACTIVE, Enrolment
from fleetmark_protos.errors import ErrorKind, FleetmarkError

log = logging.getLogger(__name__)

_COMMAND = (sys.executable, "-I", "-m", "fleetmark_agent.helpers.enrol")
_RENEWAL_S = 90.0
_MAX_LINE = 64 * 1024


@dataclass(frozen=True)
class Task:
    """What the helper is asked; see `fleetmark_agent.helpers.enrol.Task`, which loads too much."""

    home: str
    address: str
    name: str
    token: str = ""
    renew: bool = False
    patient: bool = True


def needed(known: Enrolment | None, token: str, now_ns: int) -> bool:
    """Whether there is anything to do before the board can connect.

    A token of the controller that it belongs to already is left unspent: its CA is the same.
    """
    if known is None or known.state != ACTIVE or now_ns >= known.expires_ns:
        return True
    if not token:
        return False
    from fleetmark_protos.token import BadToken, parse_token

    try:
        return parse_token(token).ca_sha256 != known.ca_sha256
    except BadToken as error:
        raise FleetmarkError(
            ErrorKind.BAD_TOKEN, str(error), next_step="Copy the whole line that it came in"
        ) from error


def enrol(home: Path, address: str, name: str, token: str, give_up_s: float | None) -> None:
    """Until this board has a certificate that counts.

    `give_up_s`: how long a controller that does not answer is waited for; None: for ever.

    Raises:
        FleetmarkError: it was refused, or UNREACHABLE.
    """
    known = identity.load_enrolment(home)
    renew = known is not None and known.state == ACTIVE and not token
    task = Task(str(home), address, name, token, renew)
    child = subprocess.Popen(
        _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert child.stdin is not None and child.stdout is not None
    heard = threading.Event()
    timer = None
    if give_up_s is not None:
        timer = threading.Timer(give_up_s, lambda: None if heard.is_set() else child.kill())
        timer.daemon = True
        timer.start()
    try:
        child.stdin.write(json.dumps(asdict(task)) + "\n")
        child.stdin.flush()
        for line in child.stdout:
            if _tell(_parse(line), heard):
                return
    finally:
        if timer is not None:
            timer.cancel()
        child.kill()
        child.wait()
    raise FleetmarkError(
        ErrorKind.UNREACHABLE if give_up_s is not None else ErrorKind.INTERNAL,
        "the enrolment ended without an answer",
    )


def _tell(event: dict[str, Any], heard: threading.Event) -> bool:
    """Log one line of the helper; True at its good end. Raises what it failed with."""
    kind = event.get("event")
    if kind == "waiting":
        log.warning("%s; trying on", event["why"])
        return False
    heard.set()
    if kind == "pending":
        log.warning(
            "waiting for approval. On the controller: `controller fleet approve %s`, where the key"
            " should be shown as %s",
            event["name"],
            event["fingerprint"],
        )
    elif kind == "skew":
        ahead_s = float(event["ahead_s"])
        side = "ahead of" if ahead_s > 0 else "behind"
        log.warning("this board's clock is %.0f s %s the controller's", abs(ahead_s), side)
    elif kind == "enrolled":
        log.info("this board is enrolled as %s", event["name"])
        return True
    elif kind == "failed":
        raise FleetmarkError(
            ErrorKind.from_number(int(event["kind"])),
            str(event["what"]),
            str(event["where"]),
            str(event["next_step"]),
        )
    return False


def _parse(line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
        return values if isinstance(values, dict) else {}
    except ValueError:
        return {}


class Renewal:
    """Renews the certificate in time, and when the controller does not take it any more."""

    def __init__(
        self,
        home: Path,
        address: str,
        name: str,
        renewed: Callable[[], None],
        offset_ns: Callable[[], int],
    ) -> None:
        """`renewed` is called after each; `offset_ns`: how far the controller's clock is ahead."""
        self._task = Task(str(home), address, name, renew=True, patient=False)
        self._home = home
        self._renewed = renewed
        self._offset_ns = offset_ns
        self._asked = asyncio.Event()
        self._tried_s = -_AGAIN_S

    def ask(self) -> None:
        """The controller cannot be reached, or does not know us: perhaps the certificate is old."""
        if time.monotonic() - self._tried_s >= _AGAIN_S:
            self._asked.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            known = identity.load_enrolment(self._home)
            if known is None:
                return  # a test's identity, or one that was taken away: nothing to renew
            left_s = (known.renew_ns - time.time_ns() - self._offset_ns()) / 1e9
            # Wall clocks step, boards sleep: look again now and then.
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
        self._tried_s = time.monotonic()
        child = await asyncio.create_subprocess_exec(
            *_COMMAND,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_MAX_LINE,
        )
        try:
            if await asyncio.wait_for(self._hear(child), _RENEWAL_S):
                self._renewed()
        except FleetmarkError as error:
            if error.kind is not ErrorKind.UNREACHABLE:
                log.warning("the certificate was not renewed: %s", error)
        except asyncio.TimeoutError:
            log.warning("the certificate was not renewed: the controller takes too long")
        finally:
            if child.returncode is None:
                child.kill()
            await child.wait()

    async def _hear(self, child: asyncio.subprocess.Process) -> bool:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps(asdict(self._task)).encode() + b"\n")
        async for line in child.stdout:
            if _tell(_parse(line.decode(errors="replace")), threading.Event()):
                return True
        return False


_LOOK_S = 600.0
_AGAIN_S = 120.0
