"""`controller serve`."""

from __future__ import annotations

import click


@click.command(name="serve")
@click.option("--home", metavar="DIR", help="Where store, blobs and configuration lie.")
@click.option("--listen", metavar="HOST:PORT", help="Loopback only, until boards can enrol.")
@click.option("--mirror", metavar="DIR", help="Files named by sha256, asked before any network.")
@click.option("--catalog", "catalogs", metavar="DIR", multiple=True, help="Further components.")
@click.option("--verbose", is_flag=True, help="Log more.")
def command(
    home: str | None,
    listen: str | None,
    mirror: str | None,
    catalogs: tuple[str, ...],
    verbose: bool,
) -> None:
    """Run the controller in the foreground; SIGTERM and Ctrl-C end it cleanly."""
    import asyncio

    from fleetmark_cli import homes, logs
    from fleetmark_controller.server import serve
    from fleetmark_controller.settings import load_settings

    folder = homes.home_folder("controller", home)
    settings = load_settings(folder, listen=listen, mirror=mirror, catalogs=catalogs)
    logs.set_up(verbose)

    def ready(address: str) -> None:
        click.echo(f"Controller ready on {address}, home {folder}")
        click.echo(f"Start a board with: agent start --controller {address}")

    asyncio.run(serve(folder, settings, ready))
