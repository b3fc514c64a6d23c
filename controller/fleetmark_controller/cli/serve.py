"""`controller serve`."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo


@click.command(name="serve")
@click.option("--home", metavar="DIR", help="Home folder with store, blobs and configuration.")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Address to listen on; the next port is for new devices [default: [::]:7117, which is"
    " every IPv4 and IPv6 address of this host].",
)
@click.option(
    "--mirror", metavar="DIR", help="Folder of files named by SHA-256, used before the network."
)
@click.option(
    "--catalog", "catalogs", metavar="DIR", multiple=True, help="Folder with further components."
)
@click.option("--check-config", is_flag=True, help="Only check the settings.")
@click.option(
    "--log-format",
    metavar="FORMAT",
    help="Form of log lines: text, json or auto. Default: auto, which is text on a terminal.",
)
@click.option("--verbose", is_flag=True, help="Log debug messages.")
def command(
    home: str | None,
    listen: str | None,
    mirror: str | None,
    catalogs: tuple[str, ...],
    check_config: bool,
    log_format: str | None,
    verbose: bool,
) -> None:
    """Run the controller in the foreground, until SIGTERM or Ctrl-C."""
    import asyncio
    import os
    import sys

    from fleetmark_cli import logging_setup, paths
    from fleetmark_controller.client.credentials import note_home
    from fleetmark_controller.home.settings import check_settings, load_settings
    from fleetmark_controller.server.app import ServerInfo, serve

    folder = paths.home_folder("controller", home)
    settings = load_settings(
        folder,
        listen=listen,
        mirror=mirror,
        catalogs=catalogs,
        log_format=log_format or os.environ.get("FLEETMARK_LOG_FORMAT"),
    )
    check_settings(settings, folder)
    if check_config:
        echo(f"The settings of {folder} are valid")
        return
    logging_setup.set_up_logging(verbose, settings.log_format)

    note_home(folder)

    def ready(info: ServerInfo) -> None:
        note_home(folder)
        echo(f"Controller ready on {info.address}, home {folder}")
        if not info.device_address:
            echo("This host has no network address: only agents on this host can reach it")
        line = f"agent start --controller {info.device_address or info.address}"
        if info.token:
            echo(f"Start a first device within an hour with:\n  {line} --token {info.token}")
            echo("Then: controller fleet approve NAME. For more devices: controller token create")
        else:
            echo("Start a device with the command that `controller token create` prints")

    # Output that is not a terminal may be a log, which must not contain a token.
    asyncio.run(serve(folder, settings, ready, with_token=sys.stdout.isatty()))
