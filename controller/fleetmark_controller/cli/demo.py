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
    help="Where its files go; what an earlier demo left there is kept.",
)
def command(out: str) -> int:
    """Run the main job on this machine: controller, agent, default suite, report."""
    from fleetmark_controller.demo.run import Demo

    return Demo(Path(out).absolute()).run()
