"""`controller jobs`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import jobs_actions, options
from fleetmark_controller.cli.jobs_actions import one_of
from fleetmark_core.ids import SHORT_ID

if TYPE_CHECKING:
    from fleetmark_protos.v1 import jobs_pb2


@click.group(name="jobs")
def command() -> None:
    """List, watch, pause, cancel and retry jobs."""


for _command in jobs_actions.COMMANDS:
    command.add_command(_command)


@command.command(name="list")
@options.campaign
@options.fleet
@click.option("--state", default="", help="Only jobs in this state, such as QUEUED or FAILED.")
@options.as_json
@options.controller
def list_jobs(campaign: str, selector: str, state: str, as_json: bool, address: str | None) -> None:
    """List jobs and, without --campaign, also the campaigns."""
    from fleetmark_cli import output, tables
    from fleetmark_core.ids import short_ids
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import jobs_pb2

    with options.connect(address) as client:
        reply = client.call(
            client.jobs.ListJobs,
            jobs_pb2.ListJobsRequest(campaign_id=campaign, state=state, selector=selector),
        )
        campaigns = client.call(client.jobs.ListCampaigns, jobs_pb2.ListCampaignsRequest())
    if as_json:
        output.print_json([to_plain(job) for job in reply.jobs])
        return
    short = short_ids([job.job_id for job in reply.jobs])
    if not campaign and campaigns.campaigns:
        short_campaigns = short_ids([c.campaign_id for c in campaigns.campaigns])
        tables.print_table(
            ("campaign", "benchmark", "fleet", "state", "jobs", "created"),
            [
                (
                    short_campaigns[c.campaign_id],
                    c.benchmark,
                    c.selector or None,
                    c.state,
                    _states(c),
                    c.created_at,
                )
                for c in campaigns.campaigns
            ],
        )
    tables.print_table(
        ("job", "device", "configuration", "state", "tries", "reason"),
        [
            (
                short[j.job_id],
                j.device or None,
                j.configuration,
                j.state,
                j.attempts,
                why(j) or None,
            )
            for j in reply.jobs
        ],
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
@click.argument("id_", metavar="JOB|CAMPAIGN")
@options.as_json
@options.controller
def show(id_: str, as_json: bool, address: str | None) -> None:
    """Show a JOB with its configuration, wait reason or outcome, and attempts.

    For a CAMPAIGN, show its jobs by state and how many bytes were sent to devices.
    """
    from fleetmark_protos.v1 import jobs_pb2

    with options.connect(address) as client:
        found = one_of(
            lambda: client.call(client.jobs.GetJob, jobs_pb2.GetJobRequest(job_id=id_)),
            lambda: client.call(
                client.jobs.ListCampaigns, jobs_pb2.ListCampaignsRequest(campaign_id=id_)
            ),
        )
    if isinstance(found, jobs_pb2.JobDetail):
        _print_job(found, as_json)
    else:
        _print_campaign(found.campaigns[0], as_json)


def why(job: jobs_pb2.Job) -> str:
    """Return why a job waits, what happened before, or how it ended."""
    if job.retried_as:
        return f"{job.reason} (retried as {job.retried_as[-SHORT_ID:]})".lstrip()
    if job.wait_reason and job.reason:
        return f"{job.wait_reason} (before: {job.reason})"
    return job.wait_reason or job.reason


def _print_campaign(campaign: jobs_pb2.Campaign, as_json: bool) -> None:
    from fleetmark_cli import output
    from fleetmark_protos.plain import to_plain

    if as_json:
        output.print_json(to_plain(campaign))
        return
    output.print_fields(
        {
            "campaign": campaign.campaign_id,
            "benchmark": campaign.benchmark,
            "fleet": campaign.selector or "all",
            "state": campaign.state + (f" since {campaign.paused_at}" * bool(campaign.paused_at)),
            "by": campaign.submitted_by or "–",
            "jobs": _states(campaign),
            "created": campaign.created_at,
            "finished": campaign.finished_at or "–",
            "bundles": f"{_megabytes(campaign.bundle_bytes)} in total for all jobs",
            "sent": f"{_megabytes(campaign.bytes_sent)} to devices; they already had the rest",
        }
    )


def _states(campaign: jobs_pb2.Campaign) -> str:
    return ", ".join(f"{n} {state.lower()}" for state, n in sorted(campaign.jobs_by_state.items()))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.2f} MB"


def _print_job(detail: jobs_pb2.JobDetail, as_json: bool) -> None:
    from fleetmark_cli import output, tables
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
            "bundle": _megabytes(detail.bundle_bytes),
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
                _megabytes(a.bytes_sent),
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


@command.command(name="watch")
@click.argument("campaign")
@options.controller
def watch(campaign: str, address: str | None) -> int:
    """Follow a CAMPAIGN until it ends, and exit with its result."""
    from fleetmark_controller.cli import watch as watching

    with options.connect(address) as client:
        return watching.watch_campaign(client, campaign)
