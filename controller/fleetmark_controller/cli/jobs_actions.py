"""Cancel and retry: what `controller jobs` and `controller campaign` have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fleetmark_cli.exit_codes import EXIT_INTERRUPTED
from fleetmark_cli.output import echo
from fleetmark_cli.renamed import note
from fleetmark_core.plural import counted

if TYPE_CHECKING:
    from fleetmark_controller.client.connection import Client
    from fleetmark_protos.v1 import jobs_pb2

no_wait = click.option("--no-wait", is_flag=True, help="Do not wait for the devices to confirm.")
include_cancelled = click.option("--cancelled", is_flag=True, help="Also retry cancelled jobs.")
wait = click.option("--wait", is_flag=True, help="Follow the campaign, and exit with its result.")


def job_or_campaign(for_job: Callable[[], Any], for_campaign: Callable[[], Any], now: str) -> Any:
    """Return the result for a job, or for a campaign if no job has this id.

    Until version 0.1, commands for jobs took the id of a campaign, too.

    Args:
        for_job: the call for a job.
        for_campaign: the call for a campaign, made if `for_job` raises NOT_FOUND.
        now: the command for campaigns, which is named on standard error.

    Raises:
        FleetmarkError: the error of `for_job`, if both raise NOT_FOUND.
    """
    from fleetmark_core.errors import ErrorKind, FleetmarkError

    try:
        return for_job()
    except FleetmarkError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        try:
            result = for_campaign()
        except FleetmarkError as other:
            raise error if other.kind is ErrorKind.NOT_FOUND else other from None
    note(now)
    return result


def cancel_job(client: Client, job: str, no_wait: bool) -> None:
    """Cancel a job and, unless `no_wait`, wait until its device confirms it."""
    from fleetmark_protos.v1 import jobs_pb2

    _cancel(client, jobs_pb2.CancelRequest(job_id=job), no_wait)


def cancel_campaign(client: Client, campaign: str, no_wait: bool) -> None:
    """Cancel the jobs of a campaign and, unless `no_wait`, wait until devices confirm it."""
    from fleetmark_protos.v1 import jobs_pb2

    _cancel(client, jobs_pb2.CancelRequest(campaign_id=campaign), no_wait)


def _cancel(client: Client, request: jobs_pb2.CancelRequest, no_wait: bool) -> None:
    reply = client.call(client.jobs.Cancel, request)
    if not reply.jobs:
        echo("Nothing to cancel: all jobs have ended")
        return
    echo(f"Cancelling {counted(reply.jobs, 'job')}")
    if no_wait or not reply.confirming:
        return
    try:
        _await_confirmation(client, reply.campaign_id, set(reply.confirming))
    except KeyboardInterrupt:
        echo("Interrupted. The jobs are cancelled nevertheless", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


def _await_confirmation(client: Client, campaign_id: str, waited_for: set[str]) -> None:
    """Wait until the devices have confirmed that these jobs have stopped."""
    from fleetmark_controller.cli import watch

    for event in watch.events(client, campaign_id):
        if event.WhichOneof("body") == "job" and event.job.job_id in waited_for:
            if event.job.state == "CANCELLING":
                continue
            waited_for.discard(event.job.job_id)
            if event.job.state == "CANCELLED":
                echo(f"{event.job.device} confirmed: {event.job.configuration} is cancelled")
            else:
                ended = event.job.state.lower()
                echo(f"{event.job.configuration} had already {ended} on {event.job.device}")
        if not waited_for:
            break


def retry_job(client: Client, job: str, cancelled: bool, wait: bool) -> int:
    """Retry a job; return the exit code."""
    from fleetmark_protos.v1 import jobs_pb2

    return _retry(client, jobs_pb2.RetryRequest(job_id=job, include_cancelled=cancelled), wait)


def retry_campaign(client: Client, campaign: str, cancelled: bool, wait: bool) -> int:
    """Retry the failed and invalid jobs of a campaign; return the exit code."""
    from fleetmark_protos.v1 import jobs_pb2

    request = jobs_pb2.RetryRequest(campaign_id=campaign, include_cancelled=cancelled)
    return _retry(client, request, wait)


def _retry(client: Client, request: jobs_pb2.RetryRequest, wait: bool) -> int:
    from fleetmark_controller.cli import watch

    reply = client.call(client.jobs.Retry, request)
    if not reply.job_ids:
        echo("Nothing to retry: there is no failed job that was not already retried")
        return 0
    echo(f"Campaign {reply.campaign_id}: {counted(len(reply.job_ids), 'job')} again")
    return watch.watch_campaign(client, reply.campaign_id) if wait else 0
