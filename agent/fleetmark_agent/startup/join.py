"""Finds the controller and gets this board a certificate, before anything else of an agent runs.

All of this is over when the board is connected: `agent start` does it before it becomes the process
that serves (see `handover`), which comes back here only when its key was revoked meanwhile.
"""

from __future__ import annotations

import logging
import signal
import time
from contextlib import suppress
from dataclasses import replace

from fleetmark_agent.config.settings import Settings
from fleetmark_agent.startup.enroll import enrol, needed
from fleetmark_agent.startup.find_controller import answers, find_in_child
from fleetmark_agent.state.identity import load_enrolment, lost_enrollment_error
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.channel import DEFAULT_PORT
from fleetmark_protos.token import BadToken, parse_token

log = logging.getLogger(__name__)


def join(settings: Settings) -> Settings:
    """Wait until this board has a certificate that counts; returns settings with the address.

    Raises:
        FleetmarkError: it was refused, or with `--once` no controller answered.
    """
    settings = replace(settings, controller=_address(settings))
    home = settings.home
    if needed(load_enrolment(home), settings.token, time.time_ns()):
        if not settings.token and load_enrolment(home) is None:
            raise lost_enrollment_error(home)
        apply(settings)
    return settings


def apply(settings: Settings) -> None:
    """Ask for a certificate, whatever this board has.

    Raises:
        FleetmarkError: it was refused, or with `--once` no controller answered.
    """
    previous = signal.signal(signal.SIGTERM, _end_cleanly)
    try:
        patience_s = settings.once_wait_s if settings.once else None
        enrol(settings.home, settings.controller, settings.name, settings.token, patience_s)
    except FleetmarkError as error:
        if error.kind is ErrorKind.UNREACHABLE and settings.once:
            raise unanswered(settings) from error
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def unanswered(settings: Settings) -> FleetmarkError:
    """What `--once` says when its patience is over."""
    return FleetmarkError(
        ErrorKind.UNREACHABLE,
        f"no controller answered at {settings.controller} within {settings.once_wait_s:g} s",
        next_step="Start one with `controller serve`, or name another with --controller",
    )


def _address(settings: Settings) -> str:
    """Where the controller is: as said, where it was last, as found nearby, or on this host."""
    if settings.controller:
        return settings.controller
    known = load_enrolment(settings.home)
    wanted = known.ca_sha256 if known else ""
    if settings.token:
        with suppress(BadToken):
            wanted = parse_token(settings.token).ca_sha256
    if known is None and not wanted:
        return ""
    if known is not None and known.ca_sha256 == wanted and answers(known.address):
        return known.address
    found = find_in_child(wanted)
    if found:
        log.info("found a controller at %s", found)
        return found
    if known is not None and known.ca_sha256 == wanted:
        return known.address
    return f"127.0.0.1:{DEFAULT_PORT}"


def _end_cleanly(number: int, frame: object) -> None:
    del number, frame
    log.info("ending: a signal asked for it")
    raise SystemExit(0)
