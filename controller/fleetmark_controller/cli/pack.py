"""`controller pack`."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options


@click.group(name="pack")
def command() -> None:
    """Verify the archives that `controller campaign pack` writes."""


@command.command(name="verify")
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, exists=True))
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(file_okay=False))
@click.option("--trust", metavar="FINGERPRINT", help="Require a signature by this catalog key.")
@options.as_json
def verify(file: str, folder: str | None, trust: str | None, as_json: bool) -> None:
    """Verify a pack without a controller. With DIR, extract it there."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from fleetmark_cli import output
    from fleetmark_controller.signing.pack_reader import unpack_pack

    if folder is None:
        with TemporaryDirectory(prefix="fleetmark-pack-") as scratch:
            found = unpack_pack(Path(file), Path(scratch) / "pack", trust or "")
    else:
        found = unpack_pack(Path(file), Path(folder), trust or "")
    if as_json:
        output.print_json(found)
        return
    output.print_fields(found)
    if folder is not None:
        echo(f"See {folder}/README.md")
