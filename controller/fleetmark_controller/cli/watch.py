"""Display of a campaign until its end: live bars on a terminal, lines otherwise.

The controller may restart meanwhile: its store has the campaign and all missed events.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

import click

from fleetmark_cli.exit_codes import EXIT_INTERRUPTED
from fleetmark_cli.output import echo, sentence
from fleetmark_controller.cli.progress_text import ANY_DEVICE, TERMINAL, phase
from fleetmark_controller.cli.wait_summary import BUSY, in_words, summarize
from fleetmark_controller.client.connection import Client
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.ids import short_ids
from fleetmark_protos.v1 import jobs_pb2

EXIT_JOB_FAILED = 1
_MAX_HINTS = 5
_GOES_ON = (
    "Campaign {campaign} continues: `controller campaign watch {campaign}` follows it,"
    " `controller campaign cancel {campaign}` cancels it"
)
_RETRY_S = 0.5
_LINE_EVERY_S = 10.0


def events(client: Client, campaign_id: str) -> Iterator[jobs_pb2.WatchEvent]:
    """Yield events of a campaign until it has ended, across restarts of the controller.

    Raises:
        FleetmarkError: any error except an unreachable controller.
    """
    away = False
    while True:
        try:
            for event in client.stream(
                client.jobs.Watch, jobs_pb2.WatchRequest(campaign_id=campaign_id)
            ):
                if away:
                    echo("The controller is available again.", err=True)
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
    """Yield events of submitting a campaign until its result, across restarts of the controller.

    The client chooses the campaign's id, so that a repeated request stores nothing twice. The id is
    printed before the campaign is stored: the campaign continues even if this command is killed.

    Raises:
        FleetmarkError: UNREACHABLE if no controller answered the first request; any error that the
            controller reports.
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
        echo(f"No controller at {client.address}; retrying.", err=True)
        time.sleep(_RETRY_S)


class CampaignDisplay(Protocol):
    """Interface of a display of events."""

    def job(self, job: jobs_pb2.Job) -> None:
        """Update a job's state and wait reason."""
        ...

    def drop(self, job: jobs_pb2.Job) -> None:
        """Remove a job that its retry replaces."""
        ...

    def progress(self, progress: jobs_pb2.JobProgress) -> None:
        """Update the progress of a job."""
        ...

    def reasons_complete(self) -> None:
        """Show the wait reasons: those of all waiting jobs have arrived."""
        ...


def watch_campaign(
    client: Client, campaign_id: str, *, quiet: bool = False, interrupted: str = _GOES_ON
) -> int:
    """Show a campaign until it ends; return 0 if every job has figures, else 1.

    Ctrl-C ends the command with exit code 130 and prints `interrupted`, with the campaign's id for
    `{campaign}`, which says whether the campaign continues.
    """
    try:
        ended, failed = _show(client, campaign_id, quiet)
    except KeyboardInterrupt:
        sentence(f"Interrupted. {interrupted.format(campaign=campaign_id)}", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    counts = ended.jobs_by_state
    if not quiet:
        summary = ", ".join(f"{n} {state.lower()}" for state, n in sorted(counts.items()))
        echo(f"Campaign {ended.campaign_id} ended: {summary}")
        for line in log_hints(failed):
            echo(line)
    return 0 if set(counts) <= {"SUCCEEDED", "ESTIMATE"} else EXIT_JOB_FAILED


def log_hints(failed: Sequence[jobs_pb2.Job]) -> Iterator[str]:
    """Yield the commands that print the output of failed jobs, except of jobs that never ran."""
    ran = [job for job in failed if job.attempts]
    short = short_ids(job.job_id for job in ran)
    for job in ran[:_MAX_HINTS]:
        yield f"  `controller jobs logs {short[job.job_id]}`: {job.device} {job.configuration}"
    if len(ran) > _MAX_HINTS:
        yield f"  and {len(ran) - _MAX_HINTS} more: `controller jobs list --state FAILED`"


def _show(
    client: Client, campaign_id: str, quiet: bool
) -> tuple[jobs_pb2.CampaignEnded, list[jobs_pb2.Job]]:
    if quiet:
        return _consume(client, campaign_id, None)
    if sys.stdout.isatty():
        from fleetmark_controller.cli.live_display import LiveDisplay

        with LiveDisplay() as bars:
            return _consume(client, campaign_id, bars)
    request = jobs_pb2.ListJobsRequest(campaign_id=campaign_id)
    listed = client.call(client.jobs.ListJobs, request).jobs
    jobs = sum(not job.retried_as for job in listed)
    return _consume(client, campaign_id, Lines(jobs))


def _consume(
    client: Client, campaign_id: str, view: CampaignDisplay | None
) -> tuple[jobs_pb2.CampaignEnded, list[jobs_pb2.Job]]:
    """Show events until the campaign has ended; return that event and the failed jobs."""
    failed: dict[str, jobs_pb2.Job] = {}
    for event in events(client, campaign_id):
        body = event.WhichOneof("body")
        if body == "ended":
            return event.ended, list(failed.values())
        if body == "job":
            if event.job.state in ("FAILED", "INVALID") and not event.job.retried_as:
                failed[event.job.job_id] = event.job
            else:
                failed.pop(event.job.job_id, None)
        if view is not None and body == "job":
            (view.drop if event.job.retried_as else view.job)(event.job)
        elif view is not None and body == "progress":
            view.progress(event.progress)
        elif view is not None and body is None:
            view.reasons_complete()
    raise AssertionError("events end with `ended`")


class Lines:
    """Display with one line per change, for pipes and logs."""

    def __init__(self, jobs: int) -> None:
        """Set the current number of jobs; repetitions may be added."""
        self._jobs = jobs
        self._seen: dict[str, tuple[str, str]] = {}
        self._ended: set[str] = set()
        self._names: dict[str, str] = {}
        self._printed_at: dict[str, float] = {}
        self._waiting: dict[str, str] = {}
        self._said_groups: frozenset[str] = frozenset()

    def job(self, job: jobs_pb2.Job) -> None:
        """Print the job's state if it is new."""
        if job.state != "QUEUED":
            self._waiting.pop(job.job_id, None)
        elif job.wait_reason:
            self._waiting[job.job_id] = job.wait_reason
        if self._seen.get(job.job_id) == (job.state, job.reason):
            return
        self._seen[job.job_id] = (job.state, job.reason)
        self._names[job.job_id] = f"{job.device or ANY_DEVICE} {job.configuration}"
        self._printed_at[job.job_id] = time.monotonic()
        if job.state in TERMINAL:
            self._ended.add(job.job_id)
        reason = f": {job.reason}" if job.reason else ""
        if job.state != "QUEUED" or job.reason:
            echo(f"{self._count()} {self._names[job.job_id]} {job.state.lower()}{reason}")

    def drop(self, job: jobs_pb2.Job) -> None:
        """Remove a job that was retried."""
        for known in (self._seen, self._names, self._printed_at, self._waiting):
            known.pop(job.job_id, None)
        self._ended.discard(job.job_id)

    def progress(self, progress: jobs_pb2.JobProgress) -> None:
        """Print a line at most every `_LINE_EVERY_S`: one for each heartbeat would be too many."""
        now = time.monotonic()
        if now - self._printed_at.get(progress.job_id, now) >= _LINE_EVERY_S:
            self._printed_at[progress.job_id] = now
            name = self._names.get(progress.job_id, "")
            echo(f"{self._count()} {name} {phase(progress)}")

    def _count(self) -> str:
        self._jobs = max(self._jobs, len(self._seen))
        return f"[{len(self._ended)}/{self._jobs}]"

    def reasons_complete(self) -> None:
        """Print the wait reasons if they changed, except of jobs that wait for their turn."""
        groups = summarize(self._waiting.values())
        groups.pop(BUSY, None)
        if groups and groups.keys() != self._said_groups:
            echo(f"{self._count()} {in_words(groups)}")
        self._said_groups = frozenset(groups)
