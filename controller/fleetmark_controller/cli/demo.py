"""`controller demo`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(name="demo")
@click.option(
    "--out",
    metavar="DIR",
    default="fleetmark-demo",
    show_default=True,
    help="Folder for the files; files of an earlier demo are kept.",
)
def command(out: str) -> int:
    """Run the demo: a controller, an agent and the default suite on this host, and a report."""
    from fleetmark_controller.demo.run import Demo

    return Demo(Path(out).absolute()).run()
