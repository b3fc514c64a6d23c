"""Enrollment of the device by a helper process, whose progress is logged."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fleetmark_agent.state import identity
from fleetmark_agent.state.identity import ACTIVE, Enrollment
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger

log = get_logger(__name__)

COMMAND = (sys.executable, "-I", "-m", "fleetmark_agent.helpers.enroll")
"""Command of the helper that enrolls and renews: it reads a task and prints one line per event."""


@dataclass(frozen=True)
class EnrollmentRequest:
    """Task of the helper.

    It has the fields of `fleetmark_agent.helpers.enroll.EnrollmentTask`; importing that module here
    would load too much.
    """

    home: str
    address: str
    name: str
    token: str = ""
    renew: bool = False
    patient: bool = True


def needs_enrollment(known: Enrollment | None, token: str, now_ns: int) -> bool:
    """Return whether the device must enroll or renew before it can connect.

    A token of the controller with which the device is already enrolled is not used: its CA is the
    same.
    """
    if known is None or known.state != ACTIVE or now_ns >= known.expires_ns:
        return True
    if not token:
        return False
    from fleetmark_protos.token import TokenError, parse_token

    try:
        return parse_token(token).ca_sha256 != known.ca_sha256
    except TokenError as error:
        raise FleetmarkError(
            ErrorKind.BAD_TOKEN, str(error), next_step="Copy the whole line that it came in"
        ) from error


def enroll_or_renew(
    home: Path, address: str, name: str, token: str, give_up_s: float | None
) -> None:
    """Enroll or renew, and return when the device has a valid certificate.

    Args:
        home: the agent's home.
        address: HOST:PORT of the controller.
        name: the device's name.
        token: the join token; empty to use the current enrollment.
        give_up_s: how long to wait for a controller that does not answer; None: without limit.

    Raises:
        FleetmarkError: the controller refused, or UNREACHABLE.
    """
    known = identity.load_enrollment(home)
    renew = known is not None and known.state == ACTIVE and not token
    task = EnrollmentRequest(str(home), address, name, token, renew)
    child = subprocess.Popen(
        COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
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
            if handle_event(parse(line), heard, renew=renew):
                return
    finally:
        if timer is not None:
            timer.cancel()
        child.kill()
        child.wait()
    raise FleetmarkError(
        ErrorKind.UNREACHABLE if give_up_s is not None else ErrorKind.INTERNAL,
        "the enrollment ended without an answer",
    )


def handle_event(event: dict[str, Any], heard: threading.Event, *, renew: bool) -> bool:
    """Log one event of the helper; return True if it reports success.

    Raises:
        FleetmarkError: the helper reports a failure.
    """
    kind = event.get("event")
    if kind == "waiting":
        log.warning("enrollment delayed", error=event["why"])
        return False
    heard.set()
    if kind == "pending":
        log.warning(
            "approval requested",
            device=event["name"],
            fingerprint=event["fingerprint"],
            hint=f"On the controller, run `controller fleet approve {event['name']}`, which must"
            " show the same fingerprint",
        )
    elif kind == "skew":
        ahead_s = float(event["ahead_s"])
        log.warning("clock skew detected", offset_s=round(ahead_s), hint="Correct the clock")
    elif kind == "port":
        log.warning(
            "controller address corrected",
            given=event["typed"],
            address=event["address"],
            hint="Correct --controller: the controller does not serve devices at the given address",
        )
    elif kind == "enrolled":
        log.info("certificate renewed" if renew else "device enrolled", device=event["name"])
        return True
    elif kind == "failed":
        raise FleetmarkError(
            ErrorKind.from_number(int(event["kind"])),
            str(event["what"]),
            str(event["where"]),
            str(event["next_step"]),
        )
    return False


def parse(line: str) -> dict[str, Any]:
    """Parse one line of the helper; return an empty dict if it is not a JSON object."""
    try:
        values = json.loads(line)
        return values if isinstance(values, dict) else {}
    except (ValueError, RecursionError):
        return {}
