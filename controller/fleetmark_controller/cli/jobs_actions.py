"""The commands of `controller jobs` that change jobs, and `controller jobs logs`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from fleetmark_cli.exit_codes import EXIT_INTERRUPTED
from fleetmark_cli.output import echo
from fleetmark_cli.sanitize import ControlCharFilter
from fleetmark_controller.cli import options
from fleetmark_core.plural import counted

if TYPE_CHECKING:
    from fleetmark_controller.client.connection import Client

_which = click.argument("id_", metavar="CAMPAIGN|JOB")


def one_of(first: Callable[[], Any], second: Callable[[], Any]) -> Any:
    """Return the first call's result, or the second's if the first finds nothing.

    If both find nothing, the error of the first is raised.
    """
    from fleetmark_core.errors import ErrorKind, FleetmarkError

    try:
        return first()
    except FleetmarkError as error:
        if error.kind is not ErrorKind.NOT_FOUND:
            raise
        try:
            return second()
        except FleetmarkError as other:
            raise error if other.kind is ErrorKind.NOT_FOUND else other from None


@click.command(name="cancel")
@_which
@click.option("--no-wait", is_flag=True, help="Do not wait for the devices to confirm.")
@options.controller
def cancel(id_: str, no_wait: bool, address: str | None) -> None:
    """Cancel all jobs of a campaign, or one job. Devices stop running jobs and confirm it."""
    from fleetmark_protos.v1 import jobs_pb2

    with options.connect(address) as client:
        reply = one_of(
            lambda: client.call(client.jobs.Cancel, jobs_pb2.CancelRequest(job_id=id_)),
            lambda: client.call(client.jobs.Cancel, jobs_pb2.CancelRequest(campaign_id=id_)),
        )
        if not reply.jobs:
            echo("Nothing to cancel: all jobs have ended")
            return
        echo(f"Cancelling {counted(reply.jobs, 'job')}")
        if no_wait or not reply.confirming:
            return
        try:
            _confirm(client, reply.campaign_id, set(reply.confirming))
        except KeyboardInterrupt:
            echo("Interrupted. The jobs are cancelled nevertheless", err=True)
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


def _confirm(client: Client, campaign_id: str, waited_for: set[str]) -> None:
    """Wait until the devices have confirmed that these jobs have stopped."""
    from fleetmark_controller.cli import watch

    confirmed = 0
    for event in watch.events(client, campaign_id):
        if event.WhichOneof("body") == "job" and event.job.job_id in waited_for:
            if event.job.state == "CANCELLING":
                continue
            waited_for.discard(event.job.job_id)
            if event.job.state == "CANCELLED":
                confirmed += 1
                echo(f"{event.job.device} confirmed: {event.job.configuration} is cancelled")
            else:
                ended = event.job.state.lower()
                echo(f"{event.job.configuration} had already {ended} on {event.job.device}")
        if not waited_for:
            break


@click.command(name="pause")
@click.argument("campaign")
@options.controller
def pause(campaign: str, address: str | None) -> None:
    """Pause a CAMPAIGN: start no further jobs. Running jobs continue, and deadlines still apply."""
    _pause(campaign, address, pause=True)


@click.command(name="resume")
@click.argument("campaign")
@options.controller
def resume(campaign: str, address: str | None) -> None:
    """Resume a paused CAMPAIGN."""
    _pause(campaign, address, pause=False)


def _pause(campaign: str, address: str | None, *, pause: bool) -> None:
    from fleetmark_protos.v1 import jobs_pb2

    request = jobs_pb2.SetPausedRequest(campaign_id=campaign, paused=pause)
    with options.connect(address) as client:
        reply = client.call(client.jobs.SetPaused, request)
    waiting, active = (reply.jobs_by_state.get(state, 0) for state in ("QUEUED", "ACTIVE"))
    word = "paused" if pause else "resumed"
    verb = "waits" if waiting == 1 else "wait"
    running = f", {active} run{'s' if active == 1 else ''} on" if pause and active else ""
    echo(f"Campaign {reply.campaign_id} is {word}: {counted(waiting, 'job')} {verb}{running}")


@click.command(name="retry")
@_which
@click.option("--cancelled", is_flag=True, help="Also retry cancelled jobs.")
@click.option("--wait", is_flag=True, help="Follow the campaign, and exit with its result.")
@options.controller
def retry(id_: str, cancelled: bool, wait: bool, address: str | None) -> int:
    """Retry the failed and invalid jobs of a CAMPAIGN, or one such JOB.

    The new jobs belong to the same campaign and replace the old ones in its result.
    """
    from fleetmark_controller.cli import watch
    from fleetmark_protos.v1 import jobs_pb2

    def ask(**which: str) -> Any:
        request = jobs_pb2.RetryRequest(**which, include_cancelled=cancelled)
        return client.call(client.jobs.Retry, request)

    with options.connect(address) as client:
        reply = one_of(lambda: ask(job_id=id_), lambda: ask(campaign_id=id_))
        if not reply.job_ids:
            echo("Nothing to retry: there is no failed job that was not already retried")
            return 0
        echo(f"Campaign {reply.campaign_id}: {counted(len(reply.job_ids), 'job')} again")
        return watch.watch_campaign(client, reply.campaign_id) if wait else 0


@click.command(name="logs")
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Continue until the job ends.")
@options.controller
def logs(job: str, follow: bool, address: str | None) -> None:
    """Print stdout and stderr of a JOB; for a running job, its last lines."""
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


COMMANDS = (logs, cancel, pause, resume, retry)
