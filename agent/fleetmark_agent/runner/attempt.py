"""The steps of one attempt, resumed where an earlier process stopped."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from fleetmark_agent import AGENT_VERSION
from fleetmark_agent.cache.blob_cache import storage_error
from fleetmark_agent.errors import Refusal
from fleetmark_agent.fingerprint import memory
from fleetmark_agent.fingerprint.thermal_sensors import hottest_c
from fleetmark_agent.runner import (
    admission,
    collect,
    order_verification,
    prepare,
    sandboxing,
    supervisor,
)
from fleetmark_agent.runner.conditioning import stabilize
from fleetmark_agent.runner.context import RunnerContext
from fleetmark_agent.runner.execution import Execution
from fleetmark_agent.runner.telemetry.temperature import Thermometer
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.session.events import (
    Event,
    JobEnded,
    JobProgressed,
    JobRefused,
    JobRunning,
    JobStopped,
)
from fleetmark_agent.session.messages import AttemptRef, Progress
from fleetmark_agent.state.attempt_key import LocalAttemptKey
from fleetmark_agent.state.file_locks import is_held
from fleetmark_agent.state.spool import SpoolFull
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.digest import sha256_hex
from fleetmark_core.lockfile import DeclaredOutput, parse_lockfile
from fleetmark_core.log import get_logger
from fleetmark_core.order import parse_order
from fleetmark_core.regular_file import read_regular
from fleetmark_core.retry import Backoff
from fleetmark_core.serde import to_plain

log = get_logger(__name__)

_RETRY_S = (1.0, 30.0)
_TRUSTED = {
    True: "order and release verified",
    False: "not signed: this device has no catalog key",
}
_GOVERNORS = (
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor",
)


class AttemptRunner:
    """Runner of one attempt. The last event is `JobEnded`, `JobRefused` or `JobStopped`."""

    def __init__(
        self, key: LocalAttemptKey, order: bytes, site: RunnerContext, tell: Callable[[Event], None]
    ) -> None:
        self.key = key
        self.site = site
        self.workspace = Workspace(site.attempts, key)
        self.order = parse_order(order)
        self._order_bytes = order
        self._tell = tell
        self._log = log.bind(job=key.job_id, epoch=key.epoch, campaign=self.order.campaign_id)
        self._execution = Execution(self.workspace, site.device_lock, site.trace)
        self._events: list[dict[str, Any]] = []
        self._task: asyncio.Task[None] | None = None
        self._verified: dict[str, Any] = {}
        self._start_wait: dict[str, Any] = {}
        self._executing = False
        self._stopping = False
        self._collecting = False

    def start(self) -> asyncio.Task[None]:
        """Start `run` in a new task."""
        self._task = asyncio.get_running_loop().create_task(self.run(), name=self.key.name)
        return self._task

    async def stop(self) -> None:
        """Stop the attempt; `run` reports `JobStopped`. Results of a finished job are kept."""
        self._stopping = True
        if self._executing:
            await self._execution.stop(self.site.settings.stop_grace_s)
        elif self._task is not None and not self._collecting:
            self._task.cancel()

    def progress(self) -> Progress | None:
        """Return the progress of the job; None unless it runs."""
        return self.workspace.read_progress() if self._executing else None

    async def run(self) -> None:
        """Perform all steps that are not done yet, and report the result as an event."""
        try:
            last_seq = await self._steps()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            self._tell(JobStopped(self.key))
        except Refusal as refusal:
            self._log.warning("attempt refused", reason=refusal.reason)
            await asyncio.to_thread(self.workspace.remove)
            self._tell(JobRefused(self.key, refusal.reason, refusal.retryable, refusal.cause))
        except Exception as error:
            # A bug of the agent: report it to the controller and free the device.
            self._log.failure("attempt failed", error)
            self._tell(
                JobStopped(
                    self.key, f"internal error of the agent: {type(error).__name__}: {error}"
                )
            )
        else:
            stopped = last_seq is None
            self._tell(JobStopped(self.key) if stopped else JobEnded(self.key, last_seq or 0))

    async def _steps(self) -> int | None:
        workspace = self.workspace
        if workspace.plan.exists():
            return await self._collect()
        if workspace.was_started:
            self._log.info("attempt resumed")
            # The job may have ended long ago, or may run for hours.
            async with self.site.transfers:
                if not self.workspace.outcome.exists():
                    self._tell(JobRunning(self.key))
                await self._watch()
                await stabilize.undo(self.site)
        else:
            with ExitStack() as pins:
                await self._prepare_and_run(pins)
        if self._stopping and not self._ended_by_itself():
            return None
        return await self._collect()

    # --- prepare ---

    def _download(self, sha256: str, offset: int) -> AsyncIterator[bytes]:
        site, key = self.site, self.key
        ref = AttemptRef(site.device_id, key.job_id, key.epoch, site.boot_id)
        return site.download(sha256, offset, ref)

    async def _prepare_and_run(self, pins: ExitStack) -> None:
        site, order = self.site, self.order
        self._note("prepare", "accepted")
        free = admission.available_memory()
        await asyncio.to_thread(
            admission.check, order, site.cache, free, site.settings.job_memory_bytes
        )
        try:
            self.workspace.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, site.attempts, "the workspace of the job") from error
        needed = {order.lock_sha256, order.release_sha256} - {""}
        pins.enter_context(site.cache.pinned((self.key, "lock"), needed))
        self._report("fetch")
        self._verified = await order_verification.verify_order(
            self._order_bytes, order, site.trust, site.cache, self._download
        )
        self._note("prepare", _TRUSTED[self._verified["signed"]])
        bundle = await prepare.fetch_lock(order, site.cache, self._download, site.capabilities)
        sandboxing.check(bundle, site)
        pins.enter_context(site.cache.pinned(self.key, bundle.names()))
        await prepare.fetch_blobs(bundle, site.cache, self._download)
        self._note("prepare", "blobs present")
        self._report("install")
        environment = await prepare.build_environment(bundle, site.cache)
        self._note("prepare", "environment present")
        self._report("start")
        command = await prepare.lay_workspace(bundle, environment, site.cache, self.workspace)
        waited = None
        if order.stable:
            self._report("cool")
            waited = await stabilize.until_cool(site, bundle.lock)
        if order.start_below_c:
            phase = f"cool below {order.start_below_c:g} °C"
            below = await stabilize.until_below(
                site,
                order.start_below_c,
                lambda done, most: self._tell(JobProgressed(self.key, Progress(phase, done, most))),
            )
            self._start_wait = below.as_provenance() | {"below_c": order.start_below_c}
            self._note("prepare", f"waited {below.seconds:.0f} s: {below.why.value}")
        # Wait for running uploads, which would disturb the measurement.
        async with site.transfers:
            try:
                settled = await self._apply_conditions(waited)
                await self._launch(bundle, command, environment, settled)
                await self._watch()
            finally:
                # If only the agent ends, the job keeps running; its settings are restored by the
                # next agent.
                if not self.workspace.was_started or not is_held(self.workspace.alive):
                    await stabilize.undo(site)

    async def _apply_conditions(
        self, waited: stabilize.CooldownResult | None
    ) -> stabilize.RunConditions:
        """Apply the device settings that a stable run requires, and record them."""
        if waited is None:
            return stabilize.RunConditions()
        try:
            settled = await stabilize.apply_conditions(self.site, self.order, waited)
        except OSError as error:
            raise storage_error(
                error, self.site.settings.home, "the journal of settings"
            ) from error
        self._note("prepare", settled.words())
        return settled

    async def _launch(
        self,
        bundle: prepare.Bundle,
        command: list[str],
        environment: Path,
        settled: stabilize.RunConditions,
    ) -> None:
        site, settings = self.site, self.site.settings
        try:
            self._note("run", "starting")
            free = admission.available_memory()
            confined = await asyncio.to_thread(
                sandboxing.confine, bundle, command, environment, site, self.workspace, free
            )
            self._write_context(bundle, confined.provenance, settled, free)
            lock_fd, alive_fd = await self._execution.take_locks()
            self._executing = True
            spec = prepare.supervisor_spec(
                bundle,
                confined.launch,
                self.workspace,
                site.trace,
                control_group=confined.control_group,
                memory_groups=memory.group_folders(),
                limits=confined.limits,
                scratch=confined.scratch,
                device_id=site.device_id,
                max_output_bytes=settings.job_output_limit_bytes,
                grace_s=settings.stop_grace_s,
                lock_fd=lock_fd,
                alive_fd=alive_fd,
                cores=settled.cores,
            )
            words = supervisor.command(str(self.workspace.spec))
            await self._execution.start(spec, words)
        except OSError as error:
            self._executing = False
            raise storage_error(error, site.attempts, "the workspace of the job") from error
        # Reported at once, because a short job may end before the next progress report.
        self._tell(JobRunning(self.key))
        self._execution.start_telemetry(settings, settled.other_cores)

    # --- run ---

    async def _watch(self) -> None:
        self._executing = True
        if self._stopping:
            # The stop was requested while the supervisor was starting.
            await self._execution.stop(self.site.settings.stop_grace_s)
        await self._execution.finished()
        self._executing = False
        self._log.info("job ended")
        await self._execution.sampled()

    def _ended_by_itself(self) -> bool:
        """Return whether the job exited before it could be stopped: its results then count."""
        outcome = self.workspace.read_json(self.workspace.outcome)
        return outcome is not None and outcome["outcome"] == "exited"

    # --- collect ---

    async def _collect(self) -> int:
        """Write the records to the spool; retry while the disk is full, to never drop data."""
        self._collecting = True
        backoff = Backoff(*_RETRY_S)
        while True:
            try:
                if not self.workspace.plan.exists():
                    await asyncio.to_thread(self.workspace.clear_inputs)
                    await asyncio.to_thread(self._make_plan)
                return collect.spool_plan(self.workspace, self.site.spool)
            except (OSError, SpoolFull) as error:
                self._log.warning("results not stored", error=error)
            await asyncio.sleep(backoff.next_s())

    def _make_plan(self) -> None:
        lock = parse_lockfile(read_regular(self.workspace.lock))
        outputs: tuple[DeclaredOutput, ...] = lock.program.outputs
        collect.make_plan(self.workspace, outputs, self.order.timeout_s, self._provenance())

    # --- provenance ---

    def _provenance(self) -> dict[str, Any]:
        return {
            "agent_version": AGENT_VERSION,
            "boot_id": self.site.boot_id,
            "order_sha256": sha256_hex(self._order_bytes),
            "capabilities": to_plain(self.site.capabilities),
        }

    def _write_context(
        self,
        bundle: prepare.Bundle,
        sandbox: dict[str, Any],
        settled: stabilize.RunConditions,
        available_bytes: int | None,
    ) -> None:
        """Write the context of later steps, possibly of another process, before the job starts."""
        root = Path(self.site.settings.system_root)
        governor = None
        for name in _GOVERNORS:
            with suppress(OSError):
                governor = (root / name).read_text().strip()
        thermometer = Thermometer(root)
        temperatures = thermometer.read()
        stuck = self.site.thermometer.history.stuck()
        stuck |= {} if settled.waited is None else settled.waited.stuck
        context = {
            "temperature_c": hottest_c(temperatures, stuck),
            "temperatures_c": temperatures,
            "temperature_left_out": dict(thermometer.choice.left_out),
            "stuck_sensors": stuck,
            "events": self._events,
            "available_memory_bytes": available_bytes,
            "provenance": {
                "boot_id": self.site.boot_id,
                "interpreter": {
                    "path": bundle.interpreter.path,
                    "version": bundle.interpreter.version,
                },
                "environment_key": bundle.environment_key,
                "lock_sha256": self.order.lock_sha256,
                "trust": self._verified,
                "sandbox": sandbox["level"],
                "sandbox_details": sandbox,
                "governor": governor,
                "stable": settled.as_provenance() if self.order.stable else None,
                "start_limit": self._start_wait or None,
                "system_root": self.site.settings.system_root,
                "clock": self.site.clock(),
            },
        }
        write_atomic(self.workspace.lock, bundle.lock.canonical())
        write_atomic(self.workspace.context, json.dumps(context).encode())

    def _note(self, phase: str, detail: str) -> None:
        self._events.append({"at_unix_ns": time.time_ns(), "phase": phase, "detail": detail})

    def _report(self, phase: str) -> None:
        self._tell(JobProgressed(self.key, Progress(phase)))
