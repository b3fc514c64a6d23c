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

from fleetmark_cli.sanitize import clean_line
from fleetmark_controller.cli.durations import left
from fleetmark_controller.cli.progress_text import Board, phase
from fleetmark_protos.v1 import jobs_pb2


class Bars:
    """A rich progress display that understands job events."""

    def __init__(self) -> None:
        """Nothing is drawn before it is entered."""
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}", markup=False),
            TextColumn("{task.fields[what]}", markup=False),
        )
        self._tasks: dict[str, TaskID] = {}
        self._boards: dict[str, Board] = {}
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
        name = job.device or "any board"
        if known is not None and (known.device or "any board") != name:
            self._boards[known.device or "any board"].jobs.pop(job.job_id, None)
            self._draw(known.device or "any board")
        board = self._boards.setdefault(name, Board())
        board.jobs[job.job_id] = job
        if board.now is not None and board.now.job_id == job.job_id and job.state != "ACTIVE":
            board.now = None
        self._draw(name)
        if job.state in ("FAILED", "INVALID") and (known is None or known.state != job.state):
            line = f"{name}: {job.configuration} {job.state.lower()}: {job.reason}"
            self._progress.console.print(clean_line(line), markup=False)

    def progress(self, progress: jobs_pb2.JobProgress) -> None:
        """How far a job is."""
        job = self._jobs.get(progress.job_id)
        if job is not None and job.device in self._boards:
            self._boards[job.device].now = progress
            self._draw(job.device)

    def _draw(self, name: str) -> None:
        board = self._boards[name]
        task = self._tasks.get(name)
        if task is None:
            task = self._tasks[name] = self._progress.add_task(
                clean_line(name), total=0, what="", left=""
            )
        active = [job for job in board.jobs.values() if job.state == "ACTIVE"]
        what = active[0].configuration if active else ""
        if board.now is not None:
            running = self._jobs[board.now.job_id]
            what = f"{running.configuration}: {phase(board.now)}"
        left_s = board.left_s()
        self._progress.update(
            task,
            total=len(board.jobs),
            completed=board.done,
            what=clean_line(what),
            left=f"~{left(left_s)}" if left_s else "",
        )
