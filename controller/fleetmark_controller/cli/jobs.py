"""`controller jobs`."""

from __future__ import annotations

import json

import click

from fleetmark_controller.cli import options


@click.group(name="jobs")
def command() -> None:
    """Look at, watch and cancel jobs."""


@command.command(name="list")
@options.campaign
@click.option("--state", default="", help="Only in this state, like FAILED.")
@options.as_json
@options.controller
def list_jobs(campaign: str, state: str, as_json: bool, address: str | None) -> None:
    """List jobs; without --campaign, the campaigns come first."""
    from fleetmark_cli import output, tables
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import jobs_pb2

    with options.connect(address) as client:
        reply = client.call(
            client.jobs.ListJobs, jobs_pb2.ListJobsRequest(campaign_id=campaign, state=state)
        )
        campaigns = client.call(client.jobs.ListCampaigns, jobs_pb2.ListCampaignsRequest())
    if as_json:
        output.print_json([to_plain(job) for job in reply.jobs])
        return
    if not campaign:
        tables.print_table(
            ("campaign", "benchmark", "fleet", "state", "jobs", "created"),
            [
                (
                    c.campaign_id,
                    c.benchmark,
                    c.selector or None,
                    c.state,
                    ", ".join(f"{n} {s.lower()}" for s, n in sorted(c.jobs_by_state.items())),
                    c.created_at,
                )
                for c in campaigns.campaigns
            ],
        )
    tables.print_table(
        ("job", "device", "configuration", "state", "tries", "reason"),
        [
            (j.job_id, j.device or None, j.configuration, j.state, j.attempts, j.reason or None)
            for j in reply.jobs
        ],
    )


@command.command(name="show")
@click.argument("job")
@options.as_json
@options.controller
def show(job: str, as_json: bool, address: str | None) -> None:
    """Show one JOB: its configuration, why it waits or how it ended, its attempts."""
    from fleetmark_cli import output, tables
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import jobs_pb2

    with options.connect(address) as client:
        detail = client.call(client.jobs.GetJob, jobs_pb2.GetJobRequest(job_id=job))
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
            "reason": line.reason or "–",
            "created": line.created_at,
            "finished": line.finished_at or "–",
            "run": line.run_id or "–",
            "lock": detail.lock_sha256,
            "bundle": f"{detail.bundle_bytes / 1e6:.1f} MB",
        }
    )
    tables.print_table(
        ("epoch", "device", "state", "began", "ended", "records", "reason"),
        [
            (
                f"{a.epoch >> 32}.{a.epoch & 0xFFFFFFFF}",
                a.device,
                a.state,
                a.created_at,
                a.finished_at or None,
                a.records,
                a.reason or None,
            )
            for a in detail.attempts
        ],
        title="Attempts",
    )


@command.command(name="watch")
@click.argument("campaign")
@options.controller
def watch(campaign: str, address: str | None) -> int:
    """Follow a CAMPAIGN to its end; exits with its result."""
    from fleetmark_controller.cli import watching

    with options.connect(address) as client:
        return watching.follow(client, campaign)


@command.command(name="cancel")
@click.argument("id_", metavar="CAMPAIGN|JOB")
@options.controller
def cancel(id_: str, address: str | None) -> None:
    """Cancel a campaign's jobs, or one job."""
    from fleetmark_protos.errors import ErrorKind, FleetmarkError
    from fleetmark_protos.v1 import jobs_pb2

    with options.connect(address) as client:
        try:
            reply = client.call(client.jobs.Cancel, jobs_pb2.CancelRequest(campaign_id=id_))
        except FleetmarkError as error:
            if error.kind is not ErrorKind.NOT_FOUND:
                raise
            reply = client.call(client.jobs.Cancel, jobs_pb2.CancelRequest(job_id=id_))
    click.echo(f"Cancelling {reply.jobs} jobs")
