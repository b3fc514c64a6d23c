"""`controller catalog`."""

from __future__ import annotations

import click

from fleetmark_controller.cli import options


@click.group(name="catalog")
def command() -> None:
    """What can run."""


@command.command(name="list")
@click.argument("kind", default="")
@options.as_json
@options.controller
def list_components(kind: str, as_json: bool, address: str | None) -> None:
    """List the controller's components, or those of one KIND."""
    from fleetmark_cli import output, tables
    from fleetmark_controller.client import Client
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import catalog_pb2

    with Client(address) as client:
        reply = client.call(
            client.catalog.ListComponents, catalog_pb2.ListComponentsRequest(kind=kind)
        )
    if as_json:
        output.print_json([to_plain(component) for component in reply.components])
        return
    tables.print_table(
        ("kind", "name", "version", "title", "variations"),
        [
            (c.kind, c.name, c.version, c.title, ", ".join(c.variations) or None)
            for c in reply.components
        ],
    )
