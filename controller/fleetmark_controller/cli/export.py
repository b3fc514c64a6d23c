"""`controller export`."""

from __future__ import annotations

from pathlib import Path

import click

from fleetmark_controller.cli import options

FORMATS = ("csv", "jsonl", "parquet", "sqlite", "html", "mlperf")


@click.command(name="export")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True)
@click.option("--out", metavar="PATH", required=True, help="The file (mlperf: folder) to write.")
@click.option("--view", default="runs", show_default=True, help="Which public view.")
@options.campaign
@options.fleet
@click.option("--since", default="", metavar="T", help="ISO 8601 time.")
@click.option("--samples", is_flag=True, help="Every sample of these runs, instead of the runs.")
@click.option("--round", "round_name", metavar="R", help="mlperf: the round, v5.1 or v6.1.")
@click.option("--division", metavar="D", help="mlperf: open or closed.")
@click.option("--submitter", metavar="NAME", help="mlperf: who submits.")
@options.controller
def command(
    form: str,
    out: str,
    view: str,
    campaign: str,
    selector: str,
    since: str,
    samples: bool,
    round_name: str | None,
    division: str | None,
    submitter: str | None,
    address: str | None,
) -> None:
    """Write results to a file, the same rows in every format; or a submission to MLPerf."""
    if form == "mlperf":
        if not (round_name and division and submitter):
            raise click.UsageError("--format mlperf needs --round, --division and --submitter")
        if samples or view != "runs":
            raise click.UsageError("--format mlperf takes neither --samples nor --view")
        chosen = {"campaign": campaign, "selector": selector, "since": since}
        _mlperf(address, out, round_name, division, submitter, chosen)
        return
    if round_name or division or submitter:
        raise click.UsageError("--round, --division and --submitter are for --format mlperf")
    from fleetmark_controller.exporting import export_view

    with options.connect(address) as client:
        count = export_view(
            client,
            form,
            Path(out),
            view=view,
            campaign=campaign,
            selector=selector,
            since=since,
            samples=samples,
        )
    click.echo(f"Wrote {count} rows to {out}", err=True)


def _mlperf(
    address: str | None,
    out: str,
    round_name: str,
    division: str,
    submitter: str,
    chosen: dict[str, str],
) -> None:
    from fleetmark_controller.exporting_mlperf import export_mlperf

    with options.connect(address) as client:
        done = export_mlperf(
            client,
            Path(out),
            round_name=round_name,
            division=division,
            submitter=submitter,
            **chosen,
        )
    for title, why in done.left_out:
        click.echo(f"Left out: {title}: {why}", err=True)
    for result in done.results:
        click.echo(result)
    click.echo(f"Wrote {len(done.results)} results to {out}, checked by MLPerf's rules", err=True)
