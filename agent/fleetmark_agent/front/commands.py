"""The commands `agent front`. Heavy imports are delayed until a command needs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo

if TYPE_CHECKING:
    from fleetmark_agent.front.registry import FrontHome

_MAX_TOKEN_BYTES = 64 << 10
_home = click.option(
    "--home",
    metavar="DIR",
    help="Home folder of the front. Default: FLEETMARK_FRONT_HOME, or the user's data folder.",
)


@click.group(name="front")
def group() -> None:
    """Run the agent on devices behind SSH, without installing it there.

    A front pushes the agent into one folder of each device, starts it, and keeps a tunnel to the
    controller open. It uses OpenSSH's client with your keys and your configuration.
    """


@group.command(name="add")
@click.argument("address", metavar="ssh://[USER@]HOST[:PORT]")
@click.option(
    "--controller",
    metavar="HOST:PORT",
    required=True,
    help="Address of the controller, as this host reaches it.",
)
@click.option(
    "--kit",
    metavar="FILE",
    required=True,
    type=click.Path(dir_okay=False, exists=True),
    help="Agent kit, as `make agent-kit` makes it.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    help="File with the enrollment token, or - for standard input.",
)
@click.option("--name", metavar="NAME", help="Name of the device. Default: HOST.")
@click.option(
    "--label",
    "labels",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set a label of the device, for selectors; can be repeated.",
)
@click.option("--jump", metavar="[USER@]HOST[:PORT]", default="", help="Connect through this host.")
@click.option(
    "--ssh-config",
    metavar="FILE",
    default="",
    type=click.Path(dir_okay=False),
    help="Configuration file of OpenSSH. Default: your own.",
)
@_home
def add(
    address: str,
    controller: str,
    kit: str,
    token_file: str | None,
    name: str | None,
    labels: tuple[str, ...],
    jump: str,
    ssh_config: str,
    home: str | None,
) -> None:
    """Push the agent to a device, and register the device with this front.

    Nothing is installed on the device: all files are in the folder .fleetmark-agent of its user.
    It needs Linux with glibc on x86_64 or aarch64, and Python 3.10 to 3.13. `agent front run` then
    starts the agent and connects it. Add a device again to update its agent.
    """
    from fleetmark_agent.config.loader import parse_label
    from fleetmark_agent.front.operations import add_device
    from fleetmark_agent.front.registry import FrontedDevice
    from fleetmark_core.device_names import RULE, is_device_name
    from fleetmark_core.network_address import split_address
    from fleetmark_core.ssh_address import parse_jump, parse_ssh_address

    try:
        place = parse_ssh_address(address)
        chosen = name or place.host
        if not is_device_name(chosen):
            raise ValueError(f"{chosen!r} is not a name: {RULE}. Give one with --name")
        split_address(controller)
        wanted = FrontedDevice(
            chosen,
            str(place),
            controller,
            0,
            "",
            parse_jump(jump) if jump else "",
            str(Path(ssh_config).absolute()) if ssh_config else "",
            dict(parse_label(text) for text in labels),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    front = _open(home)
    added = add_device(
        front, wanted, Path(kit), _token(token_file), lambda line: echo(f"{chosen}: {line}")
    )
    sent = f"{added.sent_bytes / 1e6:.1f} MB sent" if added.sent_bytes else "0 bytes sent"
    echo(f"{chosen} has the agent {added.device.version}: {sent}")
    if added.old_agent_runs:
        echo(f"{chosen}: its running agent has another version, and is replaced after it ends")
    if not front.is_running():
        option = f" --home {home}" if home else ""
        echo(f"No front runs here. Start it: agent front run{option}", err=True)


@group.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@_home
def list_devices(as_json: bool, home: str | None) -> None:
    """List the devices of this front with the state of their connections."""
    from fleetmark_cli.output import print_fields, print_json

    front = _open(home)
    rows = []
    for name, device in front.load().items():
        state, reason = front.status(name) if front.is_running() else ("no front runs", "")
        state = "being removed" if device.is_removed else state or "connecting"
        rows.append((name, device.address, device.jump, state, reason, device.version))
    keys = ("name", "address", "jump", "state", "reason", "version")
    if as_json:
        print_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    if not rows:
        echo("This front has no device. `controller fleet add ssh://HOST` adds one")
    print_fields({row[0]: f"{row[1]} {row[3]}" + (f": {row[4]}" if row[4] else "") for row in rows})


@group.command(name="remove")
@click.argument("name")
@click.option(
    "--wipe", is_flag=True, help="End the agent on the device and remove all its files there."
)
@_home
def remove(name: str, wipe: bool, home: str | None) -> None:
    """End the tunnel of a device, and remove the device from this front.

    Results that the agent has not sent yet are lost with --wipe.
    """
    from fleetmark_agent.front.operations import remove_device

    remove_device(_open(home), name, with_files=wipe)
    what = "its agent is ended, and its folder is removed" if wipe else "its agent is left there"
    echo(f"{name} is removed from this front; {what}")


@group.command(name="run")
@click.option(
    "--log-format",
    metavar="FORMAT",
    help="Form of log lines: text, json or auto. Default: auto, which is text on a terminal.",
)
@click.option("--verbose", is_flag=True, help="Log debug messages.")
@_home
def run(log_format: str | None, verbose: bool, home: str | None) -> None:
    """Keep the tunnels of all devices open, until SIGTERM or Ctrl-C.

    The agents on the devices go on with their jobs while no front runs. Devices that are added or
    removed meanwhile are noticed.
    """
    import os

    from fleetmark_agent.front.service import serve
    from fleetmark_cli.logging_setup import set_up_logging
    from fleetmark_core.log_format import LOG_FORMATS

    form = log_format or os.environ.get("FLEETMARK_LOG_FORMAT") or "auto"
    if form not in LOG_FORMATS:
        raise click.UsageError(f"{form!r} is not a log format: use {', '.join(LOG_FORMATS)}")
    set_up_logging(verbose, form, {})
    serve(_open(home))


def _open(home: str | None) -> FrontHome:
    from fleetmark_agent.front.registry import FrontHome
    from fleetmark_cli.paths import home_folder

    return FrontHome(home_folder("front", home))


def _token(file: str | None) -> str:
    import sys

    from fleetmark_cli.paths import expand_user
    from fleetmark_core.regular_file import read_regular

    if not file:
        return ""
    if file == "-":
        data = sys.stdin.buffer.read(_MAX_TOKEN_BYTES)
    else:
        data = read_regular(expand_user(file), _MAX_TOKEN_BYTES)
    text = data.decode("utf-8", "replace").strip()
    if not text:
        raise click.UsageError(f"no token in {'standard input' if file == '-' else file}")
    return text
