"""Assembles an agent from its home and settings, and runs it."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any

from fleetmark_agent import AGENT_VERSION
from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.daemon.daemon import EXIT_UNREACHABLE, Daemon
from fleetmark_agent.errors import from_os_error
from fleetmark_agent.net.grpc_transport import GrpcTransport
from fleetmark_agent.runner.context import RunnerContext
from fleetmark_agent.runner.log_tail import FEATURE
from fleetmark_agent.session.machine import AgentIdentity
from fleetmark_agent.software import detection_cache
from fleetmark_agent.software.capabilities import with_findings
from fleetmark_agent.state.files import RealFiles
from fleetmark_agent.state.identity import device_id, load_tls
from fleetmark_agent.state.spool import Spool
from fleetmark_agent.state.trust_store import SIGNED
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import uuid7
from fleetmark_core.serde import parse_trusted

log = logging.getLogger(__name__)

_MEASURE_TIMEOUT_S = 120.0
_RAISED_PRIORITY = -5


class _RefusedAtOnce(FleetmarkError):
    """Raised if the device's key was refused before it ever connected; a token may enroll it again.

    A device whose key is revoked while it is connected exits, whether or not it has a token.
    """


def run(
    settings: AgentSettings, own_id: str, rules: str, measuring: subprocess.Popen[bytes]
) -> int:
    """Run the agent on a locked home until it is asked to exit.

    Args:
        settings: the settings of the agent.
        own_id: the id of the device.
        rules: the digest of the detection rules.
        measuring: the helper process that prints the device's capabilities.

    Returns:
        The exit code.

    Raises:
        FleetmarkError: the home is unusable; the key was revoked; with `--once`, no controller
            answered.
        LedgerError: the home's ledger is damaged.
    """
    facts = cache(partial(measured_by, measuring))
    try:
        code = asyncio.run(_serve(settings, own_id, rules, facts))
    except _RefusedAtOnce as error:
        if not settings.token:
            raise
        from fleetmark_agent.startup import join

        log.warning("%s; joining anew with the token", error.what)
        settings = join.apply(settings)
        code = asyncio.run(_serve(settings, device_id(settings.home), rules, facts))
    if code == EXIT_UNREACHABLE:
        from fleetmark_agent.startup import join

        raise join.unanswered_error(settings)
    return code


def measured_by(helper: subprocess.Popen[bytes]) -> Capabilities:
    """Return the device's capabilities, measured by a process that frees its memory when it ends.

    Raises:
        FleetmarkError: the measurement failed.
    """
    try:
        out, errors = helper.communicate(timeout=_MEASURE_TIMEOUT_S)
        if helper.returncode == 0:
            return parse_trusted(Capabilities, out, "capabilities")
        lines = errors.decode(errors="replace").strip().splitlines()
        what = lines[-1] if lines else f"exit code {helper.returncode}"
    except (subprocess.TimeoutExpired, FleetmarkError) as error:
        helper.kill()
        what = str(error)
    raise FleetmarkError(
        ErrorKind.INTERNAL, f"the capabilities of the device cannot be collected: {what}"
    )


async def _serve(
    settings: AgentSettings, own_id: str, rules: str, facts: Callable[[], Capabilities]
) -> int:
    home = settings.home
    with suppress(OSError):
        # Heartbeats must not be delayed by a job that uses all cores.
        os.setpriority(os.PRIO_PROCESS, 0, _RAISED_PRIORITY)
    transport = GrpcTransport(settings.controller, lambda: load_tls(home))
    files = RealFiles(home)
    try:
        spool = Spool(files, settings.spool_limit_bytes)
    except OSError as error:
        raise from_os_error(error, str(home)) from error
    # Blocking is acceptable here, and a thread would hold its memory permanently.
    measured = facts()
    # Software found before a restart is reported at once and detected again after the hello.
    known = detection_cache.load(home, rules)
    capabilities = with_findings(measured, known.findings if known else ())
    identity = AgentIdentity(
        device_id=own_id,
        boot_id=uuid7(),
        name=settings.name,
        agent_version=AGENT_VERSION,
        capabilities=capabilities,
        labels=settings.labels,
        features=(FEATURE, SIGNED),
    )
    site = RunnerContext(
        settings=settings,
        device_id=own_id,
        boot_id=identity.boot_id,
        capabilities=capabilities,
        spool=spool,
        download=transport.download,
        clock=lambda: _clock(daemon),
        transfers=asyncio.Lock(),
    )
    daemon = Daemon(identity, site, files, transport, measured=measured, known=known)
    log.info("agent started name=%s device=%s home=%s", settings.name, own_id, home)
    code = await daemon.run()
    if daemon.refusal is not None:
        raised = FleetmarkError if daemon.link.was_connected else _RefusedAtOnce
        raise raised(
            daemon.refusal.kind or ErrorKind.REVOKED,
            str(daemon.refusal),
            next_step="Results that were not uploaded stay in the home. With a new enrollment"
            " token, this machine enrolls as a new device",
        )
    return code


def _clock(daemon: Daemon) -> dict[str, Any]:
    return {"unix_ns": time.time_ns(), "controller_offset_ns": daemon.clock_offset_ns}
