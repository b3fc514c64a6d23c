"""`controller fleet`."""

from __future__ import annotations

import click

from fleetmark_controller.cli import fleet_care, options


@click.group(name="fleet")
def command() -> None:
    """The boards of the fleet."""


for _command in fleet_care.COMMANDS:
    command.add_command(_command)


@command.command(name="list")
@options.fleet
@options.as_json
@options.controller
def list_devices(selector: str, as_json: bool, address: str | None) -> None:
    """List the boards, what they are and whether they are there."""
    from fleetmark_cli import output, tables
    from fleetmark_controller.client import Client
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import fleet_pb2

    with Client(address) as client:
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
                device.presence,
                fleet_care.doing(device) or None,
                fleet_care.standing(device) or None,
                device.capabilities.arch,
                f"{device.capabilities.os.name} {device.capabilities.os.version}",
                device.capabilities.cpu.model or device.capabilities.board.model or None,
                device.capabilities.cpu.usable_cores,
                f"{device.capabilities.memory.total_bytes / 2**30:.1f} GiB",
                ",".join(f"{key}={value}" for key, value in sorted(device.labels.items())) or None,
            )
            for device in reply.devices
        ],
        droppable=("cpu", "os", "cores", "memory"),
    )
