"""Live progress on a terminal: one bar for the campaign, one line per device."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from fleetmark_cli.sanitize import clean_line
from fleetmark_controller.cli.durations import left
from fleetmark_controller.cli.progress_text import ANY_DEVICE, DeviceProgress
from fleetmark_protos.v1 import jobs_pb2

_WIDE = 110
"""Minimum terminal width for bars and elapsed times."""


class _What(ProgressColumn):
    """Column with a device's activity, the only one that is cut on a narrow terminal."""

    def render(self, task: Task) -> Text:
        """Return one line, cut at its end."""
        return Text(task.fields["what"], no_wrap=True, overflow="ellipsis")


class LiveDisplay:
    """Rich progress display of job events."""

    def __init__(self) -> None:
        """Create the display; nothing is drawn before it is entered."""
        console = Console(highlight=False)
        wide = console.width >= _WIDE
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            *([BarColumn(24, table_column=Column(no_wrap=True))] if wide else []),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            *([TimeElapsedColumn(table_column=Column(no_wrap=True))] if wide else []),
            TextColumn("{task.fields[left]}", markup=False, table_column=Column(no_wrap=True)),
            _What(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._devices: dict[str, DeviceProgress] = {}
        self._jobs: dict[str, jobs_pb2.Job] = {}

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def progress_table(self) -> RenderableType:
        """Return the current content of the display."""
        return self._progress.get_renderable()

    def job(self, job: jobs_pb2.Job) -> None:
        """Show a job's state and wait reason."""
        known = self._jobs.get(job.job_id)
        self._jobs[job.job_id] = job
        name = job.device or ANY_DEVICE
        if known is not None and (known.device or ANY_DEVICE) != name:
            self._forget(known)
        device = self._devices.setdefault(name, DeviceProgress())
        device.jobs[job.job_id] = job
        if device.now is not None and device.now.job_id == job.job_id and job.state != "ACTIVE":
            device.now = None
        self._draw(name)
        if job.state in ("FAILED", "INVALID") and (known is None or known.state != job.state):
            line = f"{name}: {job.configuration} {job.state.lower()}: {job.reason}"
            self._progress.console.print(clean_line(line), markup=False)

    def drop(self, job: jobs_pb2.Job) -> None:
        """Remove a job that was retried."""
        known = self._jobs.pop(job.job_id, None)
        if known is not None:
            self._forget(known)

    def progress(self, progress: jobs_pb2.JobProgress) -> None:
        """Show the progress of a job."""
        job = self._jobs.get(progress.job_id)
        if job is not None and job.device in self._devices:
            self._devices[job.device].now = progress
            self._draw(job.device)

    def reasons_complete(self) -> None:
        """Do nothing: each device's line was drawn when its job arrived."""

    def _forget(self, job: jobs_pb2.Job) -> None:
        name = job.device or ANY_DEVICE
        device = self._devices[name]
        device.jobs.pop(job.job_id, None)
        if device.now is not None and device.now.job_id == job.job_id:
            device.now = None
        self._draw(name)

    def _draw(self, name: str) -> None:
        device = self._devices[name]
        task = self._tasks.get(name)
        if task is None:
            task = self._tasks[name] = self._progress.add_task(
                clean_line(name), total=0, what="", left=""
            )
        left_s = device.left_s()
        self._progress.update(
            task,
            total=len(device.jobs),
            completed=device.done,
            what=clean_line(device.what()),
            left=f"~{left(left_s)}" if left_s else "",
            visible=bool(device.jobs),
        )
