"""Puts an agent together from its home and settings, and runs it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from fleetmark_agent import AGENT_VERSION
from fleetmark_agent.cache import Cache
from fleetmark_agent.daemon import EXIT_UNREACHABLE, Daemon
from fleetmark_agent.detect import store
from fleetmark_agent.enrolling import enrol, needed
from fleetmark_agent.errors import from_os_error
from fleetmark_agent.facts.software import with_findings
from fleetmark_agent.files import RealFiles, write_atomic
from fleetmark_agent.finding import answers, find_in_child
from fleetmark_agent.identity import device_id, load_enrolment, load_tls, not_enrolled
from fleetmark_agent.ids import uuid7
from fleetmark_agent.locks import try_lock
from fleetmark_agent.runner.attempt import Site
from fleetmark_agent.session import Identity
from fleetmark_agent.settings import Settings
from fleetmark_agent.spool import Spool
from fleetmark_agent.transport import GrpcTransport
from fleetmark_catalog.core.capabilities import Capabilities
from fleetmark_catalog.core.errors import CatalogError
from fleetmark_catalog.core.plain import parse_document
from fleetmark_protos.channel import DEFAULT_PORT
from fleetmark_protos.errors import ErrorKind, FleetmarkError
from fleetmark_protos.token import BadToken, parse_token

log = logging.getLogger(__name__)

_TRACE_LIMIT_BYTES = 4 * 1024 * 1024
_MEASURE_TIMEOUT_S = 120.0
_RAISED_PRIORITY = -5
_LEAST_ROOM_BYTES = 64 * 1024


class _RefusedAtOnce(FleetmarkError):
    """The board's key was refused before it ever connected: a token may make it count again.

    A board whose key is revoked while it is connected ends, whatever token it was started with.
    """


def run(settings: Settings) -> int:
    """Run an agent in the foreground until it is asked to end; returns the exit code.

    Raises:
        FleetmarkError: the home is in use or unusable; with `--once`, no controller answered.
        LedgerError: the home's ledger is damaged.
    """
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = try_lock(home / "agent.lock")
        if lock is None:
            raise FleetmarkError(
                ErrorKind.HOME_IN_USE,
                "another agent runs with this home",
                str(home),
                "End it, or choose another --home",
            )
        # Whether there is room at all shows now, not in the middle of the first job.
        write_atomic(home / ".writable", b"\0" * _LEAST_ROOM_BYTES)
        (home / ".writable").unlink()
        device_id(home)
    except OSError as error:
        raise from_os_error(error, str(home)) from error
    try:
        settings = replace(settings, controller=_address(settings))
        _join(settings)
        try:
            code = asyncio.run(_serve(settings, device_id(home)))
        except _RefusedAtOnce as error:
            if not settings.token:
                raise
            log.warning("%s; joining anew with the token", error.what)
            _apply(settings)
            code = asyncio.run(_serve(settings, device_id(home)))
    except OSError as error:
        raise from_os_error(error, str(home)) from error
    finally:
        os.close(lock)
    if code == EXIT_UNREACHABLE:
        raise _unanswered(settings)
    return code


def measure_in_child(home: Path) -> Capabilities:
    """The board's facts, measured by a process that ends: what it loads is gone with it.

    Raises:
        FleetmarkError: the measurement failed.
    """
    command = [sys.executable, "-I", "-m", "fleetmark_agent.facts", "--home", str(home)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=_MEASURE_TIMEOUT_S)
        if done.returncode == 0:
            return parse_document(Capabilities, done.stdout, "capabilities")
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        what = lines[-1] if lines else f"exit code {done.returncode}"
    except (subprocess.TimeoutExpired, CatalogError) as error:
        what = str(error)
    raise FleetmarkError(ErrorKind.INTERNAL, f"the board cannot be measured: {what}")


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


def _join(settings: Settings) -> None:
    """Until this board has a certificate that counts.

    Raises:
        FleetmarkError: it was refused, or with `--once` no controller answered.
    """
    home = settings.home
    if not needed(load_enrolment(home), settings.token, time.time_ns()):
        return
    if not settings.token and load_enrolment(home) is None:
        raise not_enrolled(str(home))
    _apply(settings)


def _apply(settings: Settings) -> None:
    previous = signal.signal(signal.SIGTERM, _end_cleanly)
    try:
        patience_s = settings.once_wait_s if settings.once else None
        enrol(settings.home, settings.controller, settings.name, settings.token, patience_s)
    except FleetmarkError as error:
        if error.kind is ErrorKind.UNREACHABLE and settings.once:
            raise _unanswered(settings) from error
        raise
    finally:
        signal.signal(signal.SIGTERM, previous)


def _end_cleanly(number: int, frame: object) -> None:
    del number, frame
    log.info("ending: a signal asked for it")
    raise SystemExit(0)


def _unanswered(settings: Settings) -> FleetmarkError:
    return FleetmarkError(
        ErrorKind.UNREACHABLE,
        f"no controller answered at {settings.controller} within {settings.once_wait_s:g} s",
        next_step="Start one with `controller serve`, or name another with --controller",
    )


async def _serve(settings: Settings, own_id: str) -> int:
    home = settings.home
    with suppress(OSError):
        # Heartbeats must not wait behind a job that uses all cores.
        os.setpriority(os.PRIO_PROCESS, 0, _RAISED_PRIORITY)
    # The measurement is a process of its own: gRPC loads while it runs.
    measuring = asyncio.get_running_loop().run_in_executor(None, measure_in_child, home)
    transport = GrpcTransport(settings.controller, lambda: load_tls(home))
    files = RealFiles(home)
    try:
        cache = Cache(home / "cache", settings.cache_limit_bytes, settings.min_free_bytes)
        cache.clean()
        spool = Spool(files, settings.spool_limit_bytes)
        _shorten(home / "trace.jsonl")
    except OSError as error:
        raise from_os_error(error, str(home)) from error
    measured = await measuring
    # What was found before a restart is said at once; it is looked for again after the hello.
    known = store.load(home)
    capabilities = with_findings(measured, known.findings if known else ())
    identity = Identity(
        device_id=own_id,
        boot_id=uuid7(),
        name=settings.name,
        agent_version=AGENT_VERSION,
        capabilities=capabilities,
        labels=settings.labels,
    )
    site = Site(
        settings=settings,
        device_id=own_id,
        boot_id=identity.boot_id,
        capabilities=capabilities,
        cache=cache,
        spool=spool,
        download=transport.download,
        clock=lambda: _clock(daemon),
        transfers=asyncio.Lock(),
    )
    daemon = Daemon(identity, site, files, transport, measured=measured, known=known)
    log.info("agent %s, device %s, home %s", settings.name, own_id, home)
    code = await daemon.run()
    if daemon.refusal is not None:
        raised = FleetmarkError if daemon.link.was_connected else _RefusedAtOnce
        raise raised(
            daemon.refusal.kind or ErrorKind.REVOKED,
            str(daemon.refusal),
            next_step="Results that were not sent stay in the home. A new join token makes this"
            " board a new device",
        )
    return code


def _clock(daemon: Daemon) -> dict[str, Any]:
    return {"unix_ns": time.time_ns(), "controller_offset_ns": daemon.clock_offset_ns}


def _shorten(trace: Path) -> None:
    """Keep one older trace beside the current one."""
    if trace.exists() and trace.stat().st_size > _TRACE_LIMIT_BYTES:
        trace.replace(trace.with_suffix(".1.jsonl"))
