"""Execution of a job: it starts a supervisor with the device's lock and waits for its outcome."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.errors import Refusal
from fleetmark_agent.runner import orphans, supervisor
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.state.file_locks import is_held, try_lock, until_free
from fleetmark_core.atomic_file import write_atomic
from fleetmark_core.regular_file import open_regular, read_regular
from fleetmark_core.retry import Backoff

_CLEAN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
_PATIENCE_S = 5.0
_SWEEP_S = 0.5
_LAST_READING_S = 1.0


class Execution:
    """One supervisor, started by this process or by an earlier agent process."""

    def __init__(self, workspace: Workspace, device_lock: Path, trace: Path) -> None:
        self.workspace = workspace
        self.device_lock = device_lock
        self.trace = trace
        self._child: subprocess.Popen[bytes] | None = None
        self._sampler_pipe: int | None = None

    async def take_locks(self) -> tuple[int, int]:
        """Wait until the device is free, then lock it for the attempt.

        Returns:
            The locked descriptors of the device and of the attempt.

        Raises:
            OSError: a lock file cannot be created.
        """
        while (lock_fd := try_lock(self.device_lock)) is None:
            await until_free(self.device_lock)
        try:
            while (alive_fd := try_lock(self.workspace.alive)) is None:
                await until_free(self.workspace.alive)
        except BaseException:
            os.close(lock_fd)
            raise
        return lock_fd, alive_fd

    async def start(self, spec: dict[str, object], command: list[str]) -> None:
        """Start the supervisor, which takes over the locks named in `spec`.

        It starts the job when `start_telemetry` has been called and the first readings are taken.

        Raises:
            Refusal: the supervisor did not start; no process of the job runs.
            OSError: its files cannot be written.
        """
        descriptors = [int(str(spec["lock_fd"])), int(str(spec["alive_fd"]))]
        try:
            sampler_fd, self._sampler_pipe = os.pipe2(os.O_CLOEXEC)
            descriptors.append(sampler_fd)
            values = {**spec, "sampler_fd": sampler_fd}
            write_atomic(self.workspace.spec, json.dumps(values).encode())
            with self.workspace.complaints.open("wb") as complaints:
                # Not asyncio's subprocess, which kills its children when the event loop ends.
                self._child = subprocess.Popen(  # noqa: ASYNC220
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    env=_CLEAN,
                    cwd="/",
                    pass_fds=descriptors,
                    start_new_session=True,
                )
        except BaseException:
            self._close_sampler_pipe()
            raise
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        assert self._child.stdout is not None
        with self._child.stdout as pipe:
            line = await asyncio.shield(asyncio.to_thread(pipe.readline))
        if line == supervisor.STARTED_WORD or self.workspace.was_started:
            return
        await self._reap()
        self._close_sampler_pipe()
        lines = (
            read_regular(self.workspace.complaints).decode(errors="replace").strip().splitlines()
        )
        raise Refusal(
            f"the job cannot be started: {lines[-1] if lines else 'unknown reason'}", retryable=True
        )

    def start_telemetry(self, settings: AgentSettings, cores: list[int]) -> None:
        """Start telemetry sampling on `cores`; empty: any. Failures are ignored.

        A run without telemetry is still a run.
        """
        pid, ready_fd = self._pid(), self._sampler_pipe
        if pid is None or ready_fd is None:
            return
        values = {
            "pid": pid,
            "interval_s": settings.telemetry_interval_s,
            "rows": str(self.workspace.telemetry),
            "power": str(self.workspace.power),
            "lock": str(self.workspace.sampling),
            "root": settings.system_root,
            "energy_input": settings.energy_input,
            "cores": cores,
            "ready_fd": ready_fd,
        }
        command = [sys.executable, "-I", "-m", "fleetmark_agent.runner.telemetry.sampler"]
        with suppress(OSError):
            write_atomic(self.workspace.telemetry_spec, json.dumps(values).encode(), durable=False)
            # The exit status does not matter; init or this process reaps the sampler.
            self._sampler = subprocess.Popen(
                [*command, str(self.workspace.telemetry_spec)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_CLEAN,
                cwd="/",
                pass_fds=(ready_fd,),
                start_new_session=True,
            )
        self._close_sampler_pipe()

    def _close_sampler_pipe(self) -> None:
        if self._sampler_pipe is not None:
            os.close(self._sampler_pipe)
            self._sampler_pipe = None

    async def finished(self) -> None:
        """Wait until no process of the job runs and the device is free.

        The release of the supervisor's lock signals its end. If the supervisor was killed, the
        remaining processes of its job are killed here, and its missing line is added to the trace.
        """
        await until_free(self.workspace.alive)
        await self._reap()
        free = asyncio.ensure_future(until_free(self.device_lock))
        if not self.workspace.outcome.exists():
            backoff = Backoff(_SWEEP_S, _PATIENCE_S)
            while not free.done():
                await asyncio.to_thread(orphans.end_processes, self.workspace.job)
                await asyncio.wait({free}, timeout=backoff.next_s())
            self._trace_end()
        await free

    async def sampled(self) -> None:
        """Wait for the last power reading, which the sampler takes right after the job's end."""
        if self.workspace.power.exists():
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(until_free(self.workspace.sampling), _LAST_READING_S)

    async def stop(self, grace_s: float) -> None:
        """Stop the job: send SIGTERM to the supervisor, and kill it if it does not end in time."""
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(until_free(self.workspace.alive), grace_s + _PATIENCE_S)
        except asyncio.TimeoutError:
            self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        # While its lock is held the supervisor is alive, so its pid cannot have been reused.
        pid = self._pid() if is_held(self.workspace.alive) else None
        if pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def _pid(self) -> int | None:
        if self._child is not None:
            return self._child.pid
        values = self.workspace.read_json(self.workspace.started)
        return int(values["pid"]) if values else None

    async def _reap(self) -> None:
        if self._child is not None:
            await asyncio.to_thread(self._child.wait)

    def _trace_end(self) -> None:
        """Append the missing end of the job to the trace, after its supervisor was killed."""
        job_id, epoch = self.workspace.key
        if self._last_traced() != "started":
            return
        values = self.workspace.read_json(self.workspace.spec) or {}
        attempt = values.get("attempt", {"job_id": job_id, "epoch": epoch})
        line = {
            "event": "ended",
            "by": "agent",
            "pid": os.getpid(),
            "unix_ns": time.time_ns(),
            "monotonic_ns": time.monotonic_ns(),
        }
        supervisor.append_line(str(self.trace), {**attempt, **line})

    def _last_traced(self) -> str | None:
        job_id, epoch = self.workspace.key
        last = None
        with suppress(OSError), open_regular(self.trace) as file:
            for line in file:
                with suppress(ValueError, KeyError, TypeError, RecursionError):
                    values = json.loads(line)
                    if (values["job_id"], values["epoch"]) == (job_id, epoch):
                        last = str(values["event"])
        return last
