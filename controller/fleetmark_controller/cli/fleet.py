"""`controller fleet`."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import fleet_admin, fleet_selector, options
from fleetmark_core.plural import counted

_MAX_DEVICE_FILE_BYTES = 1 << 20


@click.group(name="fleet")
def command() -> None:
    """List and manage the devices of the fleet."""


for _command in (*fleet_admin.COMMANDS, *fleet_selector.COMMANDS):
    command.add_command(_command)


@command.command(name="add")
@click.argument("target", metavar="FILE|ssh://[USER@]HOST[:PORT]")
@click.option("--name", metavar="NAME", default="", help="Use this name for the device.")
@click.option(
    "--kit",
    metavar="KIT",
    type=click.Path(dir_okay=False, exists=True),
    help="With ssh://: agent kit, as `make agent-kit` makes it.",
)
@click.option(
    "--label",
    "labels",
    metavar="KEY=VALUE",
    multiple=True,
    help="With ssh://: set a label of the device; can be repeated.",
)
@click.option(
    "--jump", metavar="[USER@]HOST[:PORT]", help="With ssh://: connect through this host."
)
@click.option(
    "--ssh-config",
    metavar="SSH_CONFIG",
    type=click.Path(dir_okay=False),
    help="With ssh://: configuration file of OpenSSH. Default: your own.",
)
@options.as_json
@options.controller
def add_device(
    target: str,
    name: str,
    kit: str | None,
    labels: tuple[str, ...],
    jump: str | None,
    ssh_config: str | None,
    as_json: bool,
    address: str | None,
) -> None:
    """Register a device behind SSH, or one without a network.

    For ssh://, the front of this host pushes the agent of --kit to the device, with a one-time
    enrollment token; see `agent front`. Your own OpenSSH client, keys and configuration are used.
    `agent front run` then keeps the device connected.

    FILE is what `agent export-identity` wrote on a device without a network. Compare the key with
    the one that the device printed. `controller bundle export` writes its jobs to files.
    """
    from fleetmark_controller.cli import fleet_front

    given = {"--kit": kit, "--jump": jump, "--ssh-config": ssh_config}
    if not target.startswith(fleet_front.PREFIX):
        for option, value in {**given, "--label": labels}.items():
            if value:
                raise click.UsageError(f"{option} requires a device behind ssh://")
        _add_from_file(target, name, as_json, address)
        return
    if as_json:
        raise click.UsageError("--json requires a FILE")
    if not kit:
        raise click.UsageError("--kit is required for a device behind ssh://: run make agent-kit")
    words = [word for option, value in given.items() if value for word in (option, value)]
    words += [word for label in labels for word in ("--label", label)]
    words += ["--name", name] if name else []
    fleet_front.add_fronted_device(target, address, options.credentials(), words)


def _add_from_file(file: str, name: str, as_json: bool, address: str | None) -> None:
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_core.errors import ErrorKind, FleetmarkError
    from fleetmark_core.regular_file import read_regular
    from fleetmark_protos.v1 import fleet_pb2

    try:
        document = read_regular(Path(file), _MAX_DEVICE_FILE_BYTES)
    except OSError as error:
        raise FleetmarkError(ErrorKind.USAGE, error.strerror or str(error), file) from error
    with options.connect(address) as client:
        request = fleet_pb2.AddDeviceRequest(document=document, name=name)
        reply = client.call(client.fleet.AddDevice, request)
    if as_json:
        output.print_json(
            {
                "device_id": reply.device_id,
                "name": reply.name,
                "fingerprint": reply.fingerprint,
            }
        )
        return
    echo(f"{reply.name} is registered; its key is {reply.fingerprint}")


@command.command(name="list")
@options.fleet
@options.as_json
@options.controller
def list_devices(selector: str, as_json: bool, address: str | None) -> None:
    """List the devices with their state and capabilities."""
    from fleetmark_cli import output, tables
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import fleet_pb2

    with options.connect(address) as client:
        reply = client.call(
            client.fleet.ListDevices, fleet_pb2.ListDevicesRequest(selector=selector)
        )
    if as_json:
        output.print_json([to_plain(device) for device in reply.devices])
        return
    tables.print_table(
        ("name", "presence", "now", "state", "arch", "os", "cpu", "cores", "memory", "labels"),
        [
            (
                device.name,
                device.presence if device.enrollment in ("", "active") else device.enrollment,
                fleet_admin.activity_text(device) or None,
                fleet_admin.admin_text(device) or None,
                device.capabilities.arch or None,
                f"{device.capabilities.os.name} {device.capabilities.os.version}".strip() or None,
                device.capabilities.cpu.model or device.capabilities.board.model or None,
                device.capabilities.cpu.usable_cores or None,
                _memory(device.capabilities.memory.total_bytes),
                ",".join(f"{key}={value}" for key, value in sorted(device.labels.items())) or None,
            )
            for device in reply.devices
        ],
        droppable=("cpu", "os", "cores", "memory"),
        empty=(
            "No device matches. `controller fleet list` lists all devices"
            if selector
            else "No devices. `controller token create` prints the command that starts an agent"
        ),
    )
    waiting = [device for device in reply.devices if device.enrollment == "pending"]
    for device in waiting:
        echo(f"{device.name} waits for approval; its key is {device.fingerprint}", err=True)


def _memory(size_bytes: int) -> str | None:
    return f"{size_bytes / 2**30:.1f} GiB" if size_bytes else None


@command.command(name="approve")
@click.argument("name")
@click.option(
    "--fingerprint",
    metavar="HEX",
    help="Beginning of the key that the device shows; at least 8 digits.",
)
@options.controller
def approve(name: str, fingerprint: str | None, address: str | None) -> None:
    """Approve the enrollment of a device."""
    if fingerprint is not None and not fingerprint.strip():
        # A script passes an empty value if its variable is not set; this must not count as a match.
        raise click.BadParameter("the fingerprint is empty", param_hint="--fingerprint")
    from fleetmark_protos.v1 import fleet_pb2

    with options.connect(address) as client:
        request = fleet_pb2.ApproveRequest(name=name, fingerprint=fingerprint or "")
        client.call(client.fleet.Approve, request)
    echo(f"{name} is approved.")


@command.command(name="revoke")
@click.argument("name")
@options.controller
def revoke(name: str, address: str | None) -> None:
    """Revoke the key of a device immediately.

    Its results remain. It can enroll again only with a new token.
    """
    from fleetmark_protos.v1 import fleet_pb2

    with options.connect(address) as client:
        client.call(client.fleet.Revoke, fleet_pb2.RevokeRequest(name=name))
    echo(f"The key of {name} is revoked.")


@command.command(name="remove")
@click.argument("name")
@click.option(
    "--wipe",
    is_flag=True,
    help="First end the agent on a device behind SSH and remove all its files there.",
)
@options.controller
def remove(name: str, wipe: bool, address: str | None) -> None:
    """Revoke the key of a device and remove it from the fleet. Its results remain.

    --wipe uses the front of this host, which must have added the device.
    """
    from fleetmark_protos.v1 import fleet_pb2

    if wipe:
        from fleetmark_controller.cli.fleet_front import wipe_fronted_device

        wipe_fronted_device(name)
    with options.connect(address) as client:
        reply = client.call(client.fleet.Remove, fleet_pb2.RemoveRequest(name=name))
    echo(f"{name} is removed from the fleet.")
    if reply.cancelled:
        verb = "is" if reply.cancelled == 1 else "are"
        jobs = counted(reply.cancelled, "job")
        echo(f"{jobs} that only it could run {verb} cancelled.")
