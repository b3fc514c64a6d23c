"""Live progress on a terminal: one bar for the campaign, one line a device."""

from __future__ import annotations

from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from fleetmark_protos.v1 import common_pb2, jobs_pb2

_TERMINAL = ("SUCCEEDED", "INVALID", "FAILED", "CANCELLED")


class Bars:
    """A rich progress display that understands job events."""

    def __init__(self) -> None:
        """Nothing is drawn before it is entered."""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}", markup=False),
        )
        self._devices: dict[str, TaskID] = {}
        self._jobs: dict[str, jobs_pb2.Job] = {}

    def __enter__(self) -> Bars:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def job(self, job: jobs_pb2.Job) -> None:
        """A job's state."""
        known = self._jobs.get(job.job_id)
        self._jobs[job.job_id] = job
        device = job.device or "any board"
        task = self._devices.get(device)
        if task is None:
            task = self._devices[device] = self._progress.add_task(device, total=0, what="")
        mine = [j for j in self._jobs.values() if (j.device or "any board") == device]
        done = sum(1 for j in mine if j.state in _TERMINAL)
        what = job.configuration if job.state == "ACTIVE" else ""
        self._progress.update(task, total=len(mine), completed=done, what=what)
        if job.state in ("FAILED", "INVALID") and (known is None or known.state != job.state):
            self._progress.console.print(
                f"{device}: {job.configuration} {job.state.lower()}: {job.reason}", markup=False
            )

    def progress(self, progress: jobs_pb2.JobProgress) -> None:
        """How far a job is."""
        job = self._jobs.get(progress.job_id)
        if job is None or job.device not in self._devices:
            return
        what = f"{job.configuration}: {_phase(progress)}"
        self._progress.update(self._devices[job.device], what=what)


def _phase(progress: jobs_pb2.JobProgress) -> str:
    """What a job does now, like `run 40 %`."""
    state = common_pb2.AttemptState.Name(progress.state).removeprefix("ATTEMPT_STATE_").lower()
    what = progress.progress
    text = what.phase or state
    if what.total:
        text += f" {min(100, 100 * what.done // what.total)} %"
    if progress.HasField("temperature_c"):
        text += f" {progress.temperature_c:.0f} °C"
    return text
