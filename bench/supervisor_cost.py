"""Measures the cost of a job's supervisor and telemetry, started in the same way as by an agent."""

from __future__ import annotations

import asyncio
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import readings
from lab import until

from fleetmark_agent.config.settings import AgentSettings
from fleetmark_agent.runner import supervisor
from fleetmark_agent.runner.execution import Execution
from fleetmark_agent.runner.workspace import Workspace
from fleetmark_agent.state.attempt_key import LocalAttemptKey


@dataclass(frozen=True)
class Cost:
    """Cost of one no-op job.

    Attributes:
        rss_kib: resident memory of the supervisor.
        private_kib: private memory of the supervisor.
        cpu_percent: CPU of the supervisor while the job runs.
        start_ms: from spawning the supervisor to the start of the job.
        end_ms: from the end of the job to its outcome file.
        sampler_rss_kib: resident memory of the telemetry sampler.
        sampler_cpu_percent: CPU of the telemetry sampler.
    """

    rss_kib: int
    private_kib: int
    cpu_percent: float
    start_ms: float
    end_ms: float
    sampler_rss_kib: int
    sampler_cpu_percent: float


def measure_supervisor(folder: Path, job_s: float) -> Cost:
    """Run a job that waits, and measure its supervisor for a third of `job_s`."""
    return asyncio.run(_measure(folder, max(job_s, 3.0)))


async def _measure(folder: Path, job_s: float) -> Cost:
    workspace = Workspace(folder / "attempts", LocalAttemptKey("bench", 1))
    workspace.make_fresh()
    execution = Execution(workspace, folder / "device.lock", folder / "trace.jsonl")
    # The job reads from the FIFO, and ends when it is closed without data.
    end = folder / "end"
    os.mkfifo(end)
    lock_fd, alive_fd = await execution.take_locks()
    spec: dict[str, object] = {
        "command": ["/bin/cat", str(end)],
        "environment": {},
        "folder": str(workspace.out),
        "stdout": str(workspace.stdout),
        "stderr": str(workspace.stderr),
        "max_output_bytes": 1 << 20,
        "timeout_s": 3600.0,
        "grace_s": 1.0,
        "started": str(workspace.started),
        "progress": str(workspace.progress),
        "outcome": str(workspace.outcome),
        "trace": str(folder / "trace.jsonl"),
        "attempt": {"job_id": "bench", "epoch": 1},
        "nice": 0,
        "lock_fd": lock_fd,
        "alive_fd": alive_fd,
    }
    began_unix_ns = time.time_ns()
    await execution.start(spec, supervisor.command(str(workspace.spec)))
    execution.start_telemetry(AgentSettings(folder), [])
    pid = json.loads(workspace.started.read_bytes())["pid"]
    until(workspace.telemetry.exists, "telemetry")
    sampler = next(one for one in readings.children_of(os.getpid()) if _samples(one, workspace))
    await asyncio.sleep(min(1.5, job_s / 3))
    began, cpu, sampler_cpu = time.monotonic(), readings.cpu_s(pid), readings.cpu_s(sampler)
    await asyncio.sleep(job_s / 3)
    elapsed_s = time.monotonic() - began
    memory = readings.memory_kib(pid)
    cpu = readings.cpu_s(pid) - cpu
    sampler_cpu = readings.cpu_s(sampler) - sampler_cpu
    sampler_memory = readings.memory_kib(sampler)
    await asyncio.to_thread(lambda: end.open("wb").close())
    await execution.finished()
    outcome = json.loads(workspace.outcome.read_bytes())
    ended_unix_ns = outcome["started_unix_ns"] + outcome["duration_ns"]
    return Cost(
        rss_kib=memory["rss"],
        private_kib=memory["private"],
        cpu_percent=100 * cpu / elapsed_s,
        start_ms=(outcome["started_unix_ns"] - began_unix_ns) / 1e6,
        end_ms=(workspace.outcome.stat().st_mtime_ns - ended_unix_ns) / 1e6,
        sampler_rss_kib=sampler_memory["rss"],
        sampler_cpu_percent=100 * sampler_cpu / elapsed_s,
    )


def _samples(pid: int, workspace: Workspace) -> bool:
    """Return whether a process is the sampler of this job: an earlier one may still run."""
    return os.fsencode(workspace.telemetry_spec) in Path(f"/proc/{pid}/cmdline").read_bytes()
