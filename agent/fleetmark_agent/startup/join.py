"""Search for the controller and enrollment of this device, before the agent does anything else.

This ends before the device connects: `agent start` does it before it becomes the serving process
(see `handover`), which returns here only if its key was revoked meanwhile.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from fleetmark_agent.config.device_name import device_name
from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.startup.enroll import enroll_or_renew, needs_enrollment
from fleetmark_agent.startup.find_controller import find_in_child, is_reachable
from fleetmark_agent.state.identity import (
    ACTIVE,
    Enrollment,
    load_enrollment,
    lost_enrollment_error,
    save_enrollment,
)
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.log import get_logger
from fleetmark_core.retry import Backoff, ReasonThrottle
from fleetmark_core.tunnel_address import split_address
from fleetmark_protos.channel import DEFAULT_PORT
from fleetmark_protos.token import TokenError, parse_token

log = get_logger(__name__)
_SEARCH_DELAYS_S = (1.0, 30.0)


def join(settings: AgentSettings) -> AgentSettings:
    """Wait until this device has a valid certificate; return settings with address and name.

    Raises:
        FleetmarkError: the controller refused, or with `--once` no controller answered.
    """
    with _ending_cleanly():
        settings = replace(settings, controller=_address(settings))
    home = settings.home
    if needs_enrollment(load_enrollment(home), settings.token, time.time_ns()):
        if not settings.token and load_enrollment(home) is None:
            raise lost_enrollment_error(home)
        return apply(settings)
    return _named(settings)


def apply(settings: AgentSettings) -> AgentSettings:
    """Request a certificate even if this device has one; return settings with address and name.

    Raises:
        FleetmarkError: the controller refused, or with `--once` no controller answered.
    """
    patience_s = settings.once_wait_s if settings.once else None
    name = device_name(settings.name, load_enrollment(settings.home))
    try:
        with _ending_cleanly():
            enroll_or_renew(settings.home, settings.controller, name, settings.token, patience_s)
    except FleetmarkError as error:
        if error.kind is ErrorKind.UNREACHABLE and settings.once:
            raise unanswered_error(settings) from error
        raise
    # The helper may have found that the controller listens on another port than the one given.
    known = load_enrollment(settings.home)
    return _named(replace(settings, controller=known.address) if known else settings)


def _named(settings: AgentSettings) -> AgentSettings:
    """Return settings with the name of this device, and store the name for later starts."""
    known = load_enrollment(settings.home)
    name = device_name(settings.name, known)
    if known is not None and known.name != name:
        save_enrollment(settings.home, replace(known, name=name))
    return replace(settings, name=name)


def unanswered_error(settings: AgentSettings) -> FleetmarkError:
    """Return the error of `--once` when no controller answered in time."""
    return FleetmarkError(
        ErrorKind.UNREACHABLE,
        f"no controller answered at {settings.controller} within {settings.once_wait_s:g} s",
        next_step="Start one with `controller serve`, or name another with --controller",
    )


def _address(settings: AgentSettings) -> str:
    """Return the controller's address: as given, as stored, found nearby, or on this host."""
    known = load_enrollment(settings.home)
    if settings.controller:
        return _given_address(settings.controller, known)
    wanted = known.ca_sha256 if known else ""
    if settings.token:
        with suppress(TokenError):
            wanted = parse_token(settings.token).ca_sha256
    if known is None and not wanted:
        return ""
    if known is not None and known.ca_sha256 == wanted:
        if is_reachable(known.address):
            return known.address
        found, _ = find_in_child(wanted)
        if found:
            log.info("controller found", address=found)
        return found or known.address
    return _search(wanted, settings.once_wait_s if settings.once else None)


def _search(ca_sha256: str, give_up_s: float | None) -> str:
    """Search for a controller nearby and on this host until one is found or `give_up_s` is over."""
    here = f"127.0.0.1:{DEFAULT_PORT}"
    backoff, throttle = Backoff(*_SEARCH_DELAYS_S, jitter=0.5), ReasonThrottle()
    end_s = None if give_up_s is None else time.monotonic() + give_up_s
    while True:
        found, reason = find_in_child(ca_sha256)
        if found:
            log.info("controller found", address=found)
            return found
        if is_reachable(here):
            return here
        if throttle.is_due(reason, time.monotonic()):
            log.warning(
                "controller not found",
                reason=f"{reason}, and none answers at {here}",
                hint="The search continues. Name one with --controller HOST:PORT",
            )
        if end_s is not None and time.monotonic() >= end_s:
            return here
        time.sleep(backoff.next_s())


def _given_address(given: str, known: Enrollment | None) -> str:
    """Return the address to dial for the given one.

    A device that enrolled through a wrong port knows the right one from the controller's answer.
    """
    if known is None or known.state != ACTIVE or given == known.address:
        return given
    try:
        host, port = split_address(given)
        known_host, _ = split_address(known.address)
    except ValueError:
        return given
    wrong = port == known.entry_port or not is_reachable(given)
    if host == known_host and wrong and is_reachable(known.address):
        log.warning(
            "controller address corrected",
            given=given,
            address=known.address,
            hint="Correct --controller: the controller does not serve devices at the given address",
        )
        return known.address
    return given


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """End with exit code 0 on SIGTERM, as the serving process does."""
    previous = signal.signal(signal.SIGTERM, _end_cleanly)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _end_cleanly(number: int, frame: object) -> None:
    del number, frame
    log.info("shutdown requested", reason="signal")
    raise SystemExit(0)
