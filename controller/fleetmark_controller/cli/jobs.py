"""`controller jobs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo
from fleetmark_cli.renamed import renamed
from fleetmark_controller.cli import campaign, jobs_actions, options
from fleetmark_core.ids import SHORT_ID

if TYPE_CHECKING:
    from fleetmark_protos.v1 import jobs_pb2

_job = click.argument("job")
_JOB_COLUMNS = ("device", "configuration", "state", "tries", "reason")


@click.group(name="jobs")
def command() -> None:
    """List, show, cancel and retry jobs, and print their output."""


@command.command(name="list")
@options.campaign
@options.fleet
@click.option("--state", default="", help="Only jobs in this state, such as QUEUED or FAILED.")
@options.as_json
@options.controller
def list_jobs(campaign: str, selector: str, state: str, as_json: bool, address: str | None) -> None:
    """List jobs."""
    from fleetmark_cli import output, tables
    from fleetmark_core.ids import short_ids
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import jobs_pb2

    with options.connect(address) as client:
        reply = client.call(
            client.jobs.ListJobs,
            jobs_pb2.ListJobsRequest(campaign_id=campaign, state=state, selector=selector),
        )
    if as_json:
        output.print_json([to_plain(job) for job in reply.jobs])
        return
    short = short_ids([job.job_id for job in reply.jobs])
    short_campaigns = short_ids(list({job.campaign_id for job in reply.jobs}))
    tables.print_table(
        ("job", *(() if campaign else ("campaign",)), *_JOB_COLUMNS),
        [
            (
                short[j.job_id],
                *(() if campaign else (short_campaigns[j.campaign_id],)),
                j.device or None,
                j.configuration,
                j.state,
                j.attempts,
                why(j) or None,
            )
            for j in reply.jobs
        ],
        droppable=("tries", "campaign"),
        empty=(
            "No job matches. `controller jobs list` lists all jobs"
            if campaign or state or selector
            else "No jobs. `controller schedule BENCHMARK` submits jobs; `controller catalog list"
            " benchmark` lists the benchmarks"
        ),
    )
    if any(job.state in ("FAILED", "INVALID") and job.attempts for job in reply.jobs):
        echo("`controller jobs logs JOB` prints the output of a job")


@command.command(name="show")
@_job
@options.as_json
@options.controller
def show(job: str, as_json: bool, address: str | None) -> None:
    """Show a JOB with its configuration, wait reason or outcome, and attempts."""
    from fleetmark_protos.v1 import jobs_pb2

    with options.connect(address) as client:
        detail = jobs_actions.job_or_campaign(
            lambda: client.call(client.jobs.GetJob, jobs_pb2.GetJobRequest(job_id=job)),
            lambda: client.call(
                client.jobs.ListCampaigns, jobs_pb2.ListCampaignsRequest(campaign_id=job)
            ),
            "controller campaign show",
        )
    if isinstance(detail, jobs_pb2.JobDetail):
        _print_job(detail, as_json)
    else:
        campaign.print_campaign(detail.campaigns[0], as_json)


def why(job: jobs_pb2.Job) -> str:
    """Return why a job waits, what happened before, or how it ended."""
    if job.retried_as:
        return f"{job.reason} (retried as {job.retried_as[-SHORT_ID:]})".lstrip()
    if job.wait_reason and job.reason:
        return f"{job.wait_reason} (before: {job.reason})"
    return job.wait_reason or job.reason


def _print_job(detail: jobs_pb2.JobDetail, as_json: bool) -> None:
    from fleetmark_cli import output, tables
    from fleetmark_core.resource_model import size
    from fleetmark_protos.plain import to_plain

    configuration = json.loads(detail.configuration)
    if as_json:
        output.print_json({**to_plain(detail), "configuration": configuration})
        return
    line = detail.job
    output.print_fields(
        {
            "job": line.job_id,
            "campaign": line.campaign_id,
            "configuration": line.configuration,
            "parameters": ", ".join(f"{k}={v}" for k, v in configuration["parameters"].items()),
            "device": line.device or "any",
            "state": line.state,
            "reason": why(line) or "–",
            "created": line.created_at,
            "finished": line.finished_at or "–",
            "run": line.run_id or "–",
            "logs": f"controller jobs logs {line.job_id[-SHORT_ID:]}" if line.attempts else "–",
            "lockfile": detail.lockfile_sha256,
            "bundle": size(detail.bundle_bytes),
            "needs": f"{_predicted(detail.memory_bytes)} of memory, "
            f"{_predicted(detail.disk_bytes)} of disk, predicted",
        }
    )
    tables.print_table(
        ("epoch", "device", "state", "began", "ended", "sent", "records", "reason"),
        [
            (
                f"{a.epoch >> 32}.{a.epoch & 0xFFFFFFFF}",
                a.device,
                a.state,
                a.created_at,
                a.finished_at or None,
                size(a.bytes_sent),
                a.records,
                a.reason or None,
            )
            for a in detail.attempts
        ],
        title="Attempts",
    )


def _predicted(count_bytes: int) -> str:
    from fleetmark_core.resource_model import size

    return size(count_bytes) if count_bytes else "an unknown amount"


@command.command(name="logs")
@_job
@click.option("-f", "--follow", is_flag=True, help="Continue until the job ends.")
@options.controller
def logs(job: str, follow: bool, address: str | None) -> None:
    """Print stdout and stderr of a JOB; for a running job, its last lines."""
    import sys

    from fleetmark_cli.sanitize import ControlCharFilter
    from fleetmark_protos.v1 import jobs_pb2

    places = {"stdout": sys.stdout, "stderr": sys.stderr}
    plain = {name: ControlCharFilter() for name, place in places.items() if place.isatty()}
    request = jobs_pb2.StreamLogsRequest(job_id=job, follow=follow)
    with options.connect(address) as client:
        for chunk in client.stream(client.jobs.StreamLogs, request):
            place = places.get(chunk.stream, sys.stdout)
            if chunk.stream in plain:
                place.write(plain[chunk.stream].clean(chunk.data))
            else:
                place.buffer.write(chunk.data)  # unchanged for files and pipes
            place.flush()


@command.command(name="cancel")
@_job
@jobs_actions.no_wait
@options.controller
def cancel(job: str, no_wait: bool, address: str | None) -> None:
    """Cancel a JOB. A device that runs it stops it and confirms it."""
    with options.connect(address) as client:
        jobs_actions.job_or_campaign(
            lambda: jobs_actions.cancel_job(client, job, no_wait),
            lambda: jobs_actions.cancel_campaign(client, job, no_wait),
            "controller campaign cancel",
        )


@command.command(name="retry")
@_job
@jobs_actions.include_cancelled
@jobs_actions.wait
@options.controller
def retry(job: str, cancelled: bool, wait: bool, address: str | None) -> int:
    """Retry a failed or invalid JOB.

    The new job belongs to the same campaign and replaces the old one in its result.
    """
    with options.connect(address) as client:
        code: int = jobs_actions.job_or_campaign(
            lambda: jobs_actions.retry_job(client, job, cancelled, wait),
            lambda: jobs_actions.retry_campaign(client, job, cancelled, wait),
            "controller campaign retry",
        )
        return code


for _command in (campaign.watch, campaign.pause, campaign.resume):
    assert _command.name is not None
    command.add_command(renamed(_command, _command.name, f"controller campaign {_command.name}"))
