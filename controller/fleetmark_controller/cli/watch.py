"""Follows a campaign to its end: live bars on a terminal, lines otherwise.

The controller may be restarted meanwhile; the campaign is in its store and so is what was missed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Protocol

from fleetmark_cli.output import echo
from fleetmark_controller.client.connection import Client
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import jobs_pb2

EXIT_JOB_FAILED = 1
_TERMINAL = ("SUCCEEDED", "INVALID", "FAILED", "CANCELLED")
_RETRY_S = 0.5
_LINE_EVERY_S = 10.0


def events(client: Client, campaign_id: str) -> Iterator[jobs_pb2.WatchEvent]:
    """Events of a campaign until it has ended, over restarts of the controller.

    Raises:
        FleetmarkError: anything but a controller that is away.
    """
    away = False
    while True:
        try:
            for event in client.stream(
                client.jobs.Watch, jobs_pb2.WatchRequest(campaign_id=campaign_id)
            ):
                if away:
                    echo("The controller is back.", err=True)
                    away = False
                yield event
                if event.WhichOneof("body") == "ended":
                    return
        except FleetmarkError as error:
            if error.kind is not ErrorKind.UNREACHABLE:
                raise
        if not away:
            echo(f"No controller at {client.address}; waiting for it.", err=True)
            away = True
        time.sleep(_RETRY_S)


def submit(client: Client, request: jobs_pb2.SubmitRequest) -> Iterator[jobs_pb2.SubmitEvent]:
    """Events of submitting a campaign until its result, over restarts of the controller.

    The client chooses the campaign's id, so that a repeated request stores nothing twice. The id is
    printed before the campaign is stored: the campaign goes on even if this command is killed.

    Raises:
        FleetmarkError: UNREACHABLE if no controller answered the first request; any error that the
            controller answers.
    """
    heard = False
    while True:
        try:
            for event in client.stream(client.jobs.Submit, request):
                if not heard and not request.dry_run:
                    echo(f"Campaign {request.campaign_id}", err=True)
                heard = True
                yield event
                if event.WhichOneof("body") == "result":
                    return
        except FleetmarkError as error:
            if error.kind is not ErrorKind.UNREACHABLE or not heard:
                raise
        echo(f"No controller at {client.address}; asking again.", err=True)
        time.sleep(_RETRY_S)


class View(Protocol):
    """Shows events to a person."""

    def job(self, job: jobs_pb2.Job) -> None:
        """A job's state."""
        ...

    def progress(self, progress: jobs_pb2.JobProgress) -> None:
        """How far a job is."""
        ...


def follow(client: Client, campaign_id: str, *, quiet: bool = False) -> int:
    """Show a campaign until it ends; 0 if every job succeeded, else 1."""
    if quiet:
        ended = _consume(client, campaign_id, None)
    elif sys.stdout.isatty():
        from fleetmark_controller.cli.live_display import Bars

        with Bars() as bars:
            ended = _consume(client, campaign_id, bars)
    else:
        request = jobs_pb2.ListJobsRequest(campaign_id=campaign_id)
        listed = client.call(client.jobs.ListJobs, request).jobs
        jobs = sum(not job.retried_as for job in listed)
        ended = _consume(client, campaign_id, _Lines(jobs))
    counts = ended.jobs_by_state
    if not quiet:
        summary = ", ".join(f"{n} {state.lower()}" for state, n in sorted(counts.items()))
        echo(f"Campaign {ended.campaign_id} ended: {summary}")
    return 0 if set(counts) <= {"SUCCEEDED"} else EXIT_JOB_FAILED


def _consume(client: Client, campaign_id: str, view: View | None) -> jobs_pb2.CampaignEnded:
    for event in events(client, campaign_id):
        body = event.WhichOneof("body")
        if body == "ended":
            return event.ended
        if view is not None and body == "job":
            if not event.job.retried_as:  # its retry takes its place
                view.job(event.job)
        elif view is not None and body == "progress":
            view.progress(event.progress)
    raise AssertionError("events end with `ended`")


class _Lines:
    """One line a change, for pipes and logs."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._seen: dict[str, tuple[str, str]] = {}
        self._ended: set[str] = set()
        self._names: dict[str, str] = {}
        self._said_at: dict[str, float] = {}

    def job(self, job: jobs_pb2.Job) -> None:
        if self._seen.get(job.job_id) == (job.state, job.reason):
            return
        self._seen[job.job_id] = (job.state, job.reason)
        self._names[job.job_id] = f"{job.device} {job.configuration}"
        self._said_at[job.job_id] = time.monotonic()
        if job.state in _TERMINAL:
            self._ended.add(job.job_id)
        count = f"[{len(self._ended)}/{self._jobs}]"
        reason = f": {job.reason}" if job.reason else ""
        if job.state != "QUEUED" or job.reason:
            echo(f"{count} {job.device} {job.configuration} {job.state.lower()}{reason}")

    def progress(self, progress: jobs_pb2.JobProgress) -> None:
        """A line now and then: each heartbeat would be too many."""
        from fleetmark_controller.cli.progress_text import phase

        now = time.monotonic()
        if now - self._said_at.get(progress.job_id, now) >= _LINE_EVERY_S:
            self._said_at[progress.job_id] = now
            name = self._names.get(progress.job_id, "")
            echo(f"[{len(self._ended)}/{self._jobs}] {name} {phase(progress)}")
