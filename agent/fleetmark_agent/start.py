"""Puts an agent together from its home and settings, and runs it."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from fleetmark_agent import AGENT_VERSION
from fleetmark_agent.cache import Cache
from fleetmark_agent.daemon import EXIT_UNREACHABLE, Daemon
from fleetmark_agent.detect import store
from fleetmark_agent.errors import from_os_error
from fleetmark_agent.facts.software import with_findings
from fleetmark_agent.files import RealFiles, write_atomic
from fleetmark_agent.identity import device_id
from fleetmark_agent.ids import uuid7
from fleetmark_agent.locks import try_lock
from fleetmark_agent.runner.attempt import Site
from fleetmark_agent.session import Identity
from fleetmark_agent.settings import Settings
from fleetmark_agent.spool import Spool
from fleetmark_agent.tail import FEATURE
from fleetmark_agent.transport import GrpcTransport
from fleetmark_catalog.core.capabilities import Capabilities
from fleetmark_catalog.core.errors import CatalogError
from fleetmark_catalog.core.plain import parse_document
from fleetmark_protos.errors import ErrorKind, FleetmarkError

log = logging.getLogger(__name__)

_TRACE_LIMIT_BYTES = 4 * 1024 * 1024
_MEASURE_TIMEOUT_S = 120.0
_RAISED_PRIORITY = -5
_LEAST_ROOM_BYTES = 64 * 1024


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
        own_id = device_id(home)
    except OSError as error:
        raise from_os_error(error, str(home)) from error
    try:
        code = asyncio.run(_serve(settings, own_id))
    finally:
        os.close(lock)
    if code == EXIT_UNREACHABLE:
        raise FleetmarkError(
            ErrorKind.UNREACHABLE,
            f"no controller answered at {settings.controller} within {settings.once_wait_s:g} s",
            next_step="Start one with `controller serve`, or name another with --controller",
        )
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


async def _serve(settings: Settings, own_id: str) -> int:
    home = settings.home
    with suppress(OSError):
        # Heartbeats must not wait behind a job that uses all cores.
        os.setpriority(os.PRIO_PROCESS, 0, _RAISED_PRIORITY)
    # The measurement is a process of its own: gRPC loads while it runs.
    measuring = asyncio.get_running_loop().run_in_executor(None, measure_in_child, home)
    transport = GrpcTransport(settings.controller)
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
        features=(FEATURE,),
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
    return await daemon.run()


def _clock(daemon: Daemon) -> dict[str, Any]:
    return {"unix_ns": time.time_ns(), "controller_offset_ns": daemon.clock_offset_ns}


def _shorten(trace: Path) -> None:
    """Keep one older trace beside the current one."""
    if trace.exists() and trace.stat().st_size > _TRACE_LIMIT_BYTES:
        trace.replace(trace.with_suffix(".1.jsonl"))
