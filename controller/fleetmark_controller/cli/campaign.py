"""`controller campaign`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import jobs_actions, options
from fleetmark_core.plural import counted

if TYPE_CHECKING:
    from fleetmark_protos.v1 import jobs_pb2

_campaign = click.argument("campaign")


@click.group(name="campaign")
def command() -> None:
    """List, watch, pause, cancel and retry campaigns.

    CAMPAIGN is part of a campaign's id, or `last`.
    """


@command.command(name="list")
@options.as_json
@options.controller
def list_campaigns(as_json: bool, address: str | None) -> None:
    """List the campaigns, newest first, with their jobs by state."""
    from fleetmark_cli import output, tables
    from fleetmark_core.ids import short_ids
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import jobs_pb2

    with options.connect(address) as client:
        reply = client.call(client.jobs.ListCampaigns, jobs_pb2.ListCampaignsRequest())
    if as_json:
        output.print_json([to_plain(campaign) for campaign in reply.campaigns])
        return
    short = short_ids([c.campaign_id for c in reply.campaigns])
    tables.print_table(
        ("campaign", "benchmark", "fleet", "state", "jobs", "created"),
        [
            (
                short[c.campaign_id],
                c.benchmark,
                c.selector or None,
                c.state,
                _states(c),
                c.created_at,
            )
            for c in reply.campaigns
        ],
        empty="No campaigns. `controller schedule BENCHMARK` submits one",
    )


@command.command(name="show")
@_campaign
@options.as_json
@options.controller
def show(campaign: str, as_json: bool, address: str | None) -> None:
    """Show a CAMPAIGN: its jobs by state, and how many bytes were sent to devices."""
    from fleetmark_protos.v1 import jobs_pb2

    with options.connect(address) as client:
        request = jobs_pb2.ListCampaignsRequest(campaign_id=campaign)
        found = client.call(client.jobs.ListCampaigns, request)
    print_campaign(found.campaigns[0], as_json)


def print_campaign(campaign: jobs_pb2.Campaign, as_json: bool) -> None:
    """Print one campaign."""
    from fleetmark_cli import output
    from fleetmark_core.resource_model import size
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
            "bundles": f"{size(campaign.bundle_bytes)} in total for all jobs",
            "sent": f"{size(campaign.bytes_sent)} to devices; they already had the rest",
        }
    )


def _states(campaign: jobs_pb2.Campaign) -> str:
    return ", ".join(f"{n} {state.lower()}" for state, n in sorted(campaign.jobs_by_state.items()))


@command.command(name="watch")
@_campaign
@options.controller
def watch(campaign: str, address: str | None) -> int:
    """Follow a CAMPAIGN until it ends, and exit with its result."""
    from fleetmark_controller.cli import watch as watching

    with options.connect(address) as client:
        return watching.watch_campaign(client, campaign)


@command.command(name="pause")
@_campaign
@options.controller
def pause(campaign: str, address: str | None) -> None:
    """Pause a CAMPAIGN: start no further jobs. Running jobs continue, and deadlines still apply."""
    _set_paused(campaign, address, paused=True)


@command.command(name="resume")
@_campaign
@options.controller
def resume(campaign: str, address: str | None) -> None:
    """Resume a paused CAMPAIGN."""
    _set_paused(campaign, address, paused=False)


def _set_paused(campaign: str, address: str | None, *, paused: bool) -> None:
    from fleetmark_protos.v1 import jobs_pb2

    request = jobs_pb2.SetPausedRequest(campaign_id=campaign, paused=paused)
    with options.connect(address) as client:
        reply = client.call(client.jobs.SetPaused, request)
    waiting, active = (reply.jobs_by_state.get(state, 0) for state in ("QUEUED", "ACTIVE"))
    word = "paused" if paused else "resumed"
    verb = "waits" if waiting == 1 else "wait"
    running = f", {counted(active, 'job')} still running" if paused and active else ""
    echo(f"Campaign {reply.campaign_id} is {word}: {counted(waiting, 'job')} {verb}{running}")


@command.command(name="cancel")
@_campaign
@jobs_actions.no_wait
@options.controller
def cancel(campaign: str, no_wait: bool, address: str | None) -> None:
    """Cancel all jobs of a CAMPAIGN. Devices stop running jobs and confirm it."""
    with options.connect(address) as client:
        jobs_actions.cancel_campaign(client, campaign, no_wait)


@command.command(name="retry")
@_campaign
@jobs_actions.include_cancelled
@jobs_actions.wait
@options.controller
def retry(campaign: str, cancelled: bool, wait: bool, address: str | None) -> int:
    """Retry the failed and invalid jobs of a CAMPAIGN.

    The new jobs belong to the same campaign and replace the old ones in its result.
    """
    with options.connect(address) as client:
        return jobs_actions.retry_campaign(client, campaign, cancelled, wait)


@command.command(name="pack")
@_campaign
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    required=True,
    help="Archive to write.",
)
@options.as_json
@options.controller
def pack(campaign: str, out: str, as_json: bool, address: str | None) -> None:
    """Write results of a CAMPAIGN, and all that is needed to repeat it, to one archive."""
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_controller.export.atomic import atomic
    from fleetmark_protos.v1 import catalog_pb2

    request = catalog_pb2.PackRequest(campaign_id=campaign)
    size_bytes = 0
    with (
        options.connect(address) as client,
        atomic(Path(out)) as scratch,
        scratch.open("wb") as file,
    ):
        for part in client.stream(client.catalog.Pack, request):
            size_bytes += file.write(part.data)
    if as_json:
        output.print_json({"file": out, "size_bytes": size_bytes})
        return
    echo(f"{out}, {size_bytes:,} bytes. `controller pack verify {out}` verifies it")
