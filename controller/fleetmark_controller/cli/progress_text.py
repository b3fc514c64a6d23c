"""Progress of jobs as text: phase, percentage, temperature, time left."""

from __future__ import annotations

from fleetmark_controller.cli.durations import left
from fleetmark_controller.cli.wait_summary import summarize
from fleetmark_protos.v1 import common_pb2, jobs_pb2

ANY_DEVICE = "any device"
"""Device name shown for a job that has no device yet."""
TERMINAL = ("SUCCEEDED", "ESTIMATE", "INVALID", "FAILED", "CANCELLED")


def phase(progress: jobs_pb2.JobProgress) -> str:
    """Return the current phase of a job, like `run 40 %, 61 °C, 12 s left`."""
    state = common_pb2.AttemptState.Name(progress.state).removeprefix("ATTEMPT_STATE_").lower()
    what = progress.progress
    text = what.phase or state
    if what.total:
        text += f" {min(100, 100 * what.done // what.total)} %"
    parts = [text]
    if progress.HasField("temperature_c"):
        parts.append(f"{progress.temperature_c:.0f} °C")
    if progress.HasField("time_left_ns"):
        parts.append(f"{left(progress.time_left_ns / 1e9)} left")
    return ", ".join(parts)


class DeviceProgress:
    """The jobs of one device in a campaign."""

    def __init__(self) -> None:
        """Start without jobs."""
        self.jobs: dict[str, jobs_pb2.Job] = {}
        self.now: jobs_pb2.JobProgress | None = None

    @property
    def done(self) -> int:
        """The number of jobs that have ended."""
        return sum(job.state in TERMINAL for job in self.jobs.values())

    def what(self) -> str:
        """Return what runs on the device now, or why its jobs wait."""
        active = next((job for job in self.jobs.values() if job.state == "ACTIVE"), None)
        if self.now is not None and self.now.job_id in self.jobs:
            return f"{phase(self.now)}: {self.jobs[self.now.job_id].configuration}"
        if active is not None:
            return active.configuration
        reasons = (job.wait_reason for job in self.jobs.values() if job.state == "QUEUED")
        groups = summarize(reasons)
        return f"waits: {next(iter(groups))}" if groups else ""

    def left_s(self) -> float | None:
        """Return the seconds until its last job ends; None if one of its jobs has no estimate."""
        total = 0.0
        for job in self.jobs.values():
            if job.state in TERMINAL:
                continue
            running = self.now is not None and self.now.job_id == job.job_id
            if running and self.now is not None and self.now.HasField("time_left_ns"):
                total += self.now.time_left_ns / 1e9
            elif job.expected_ns:
                total += job.expected_ns / 1e9
            else:
                return None
        return total
