"""`controller export`."""

from __future__ import annotations

from pathlib import Path

import click

from fleetmark_controller.cli import options

FORMATS = ("csv", "jsonl", "parquet", "sqlite", "html")


@click.command(name="export")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True)
@click.option("--out", metavar="PATH", required=True, help="The file to write.")
@click.option("--view", default="runs", show_default=True, help="Which public view.")
@options.campaign
@options.fleet
@click.option("--since", default="", metavar="T", help="ISO 8601 time.")
@click.option("--samples", is_flag=True, help="Every sample of these runs, instead of the runs.")
@options.controller
def command(
    form: str,
    out: str,
    view: str,
    campaign: str,
    selector: str,
    since: str,
    samples: bool,
    address: str | None,
) -> None:
    """Write results to a file; the same rows in every format."""
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
