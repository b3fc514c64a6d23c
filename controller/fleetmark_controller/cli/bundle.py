"""`controller bundle`."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options


@click.group(name="bundle")
def command() -> None:
    """Export jobs to files, for devices without a network.

    `controller fleet add FILE` registers such a device, `agent run-bundle FILE --out RESULTS` runs
    a bundle file on it, and `controller results import RESULTS` imports its results.
    """


@command.command(name="export")
@click.argument("job")
@click.option("--device", metavar="NAME", default="", help="Device, if several fit.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    required=True,
    help="Bundle file to write.",
)
@options.as_json
@options.controller
def export(job: str, device: str, out: str, as_json: bool, address: str | None) -> None:
    """Write order, lockfile, release and all files of a queued JOB to one bundle file.

    The job then belongs to that device until its results are imported, it is cancelled, or its
    deadline passes. A repeated export writes the same file.
    """
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_controller.client.bundle_files import write_bundle

    with options.connect(address) as client:
        bundle, size_bytes = write_bundle(client, job, device, Path(out))
    if as_json:
        output.print_json(
            {"file": out, "device": bundle.device, "pin": bundle.pin, "size_bytes": size_bytes}
        )
        return
    echo(f"{out}, {size_bytes:,} bytes, for {bundle.device}. Run it on that device with:")
    echo(f"  agent run-bundle {out} --out RESULTS --trust {bundle.pin}")
