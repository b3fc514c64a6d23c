"""`controller fleet selector`."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo
from fleetmark_cli.renamed import renamed
from fleetmark_controller.cli import options


@click.group(name="selector")
def group() -> None:
    """Save selectors under a name; `--fleet @NAME` uses one."""


@group.command(name="set")
@click.argument("name")
@click.argument("selector")
@options.controller
def set_selector(name: str, selector: str, address: str | None) -> None:
    """Save SELECTOR as NAME, so that `@NAME` can be used in place of it."""
    from fleetmark_protos.v1 import fleet_pb2

    name = name.removeprefix("@")
    with options.connect(address) as client:
        client.call(client.fleet.SetSelector, fleet_pb2.SavedSelector(name=name, selector=selector))
    echo(f"@{name} is {selector}")


@group.command(name="list")
@options.as_json
@options.controller
def list_selectors(as_json: bool, address: str | None) -> None:
    """List the saved selectors."""
    from fleetmark_cli import output, tables
    from fleetmark_protos.v1 import fleet_pb2

    with options.connect(address) as client:
        reply = client.call(client.fleet.ListSelectors, fleet_pb2.ListSelectorsRequest())
    if as_json:
        output.print_json([{"name": f.name, "selector": f.selector} for f in reply.selectors])
        return
    tables.print_table(
        ("name", "selector"),
        [(f"@{f.name}", f.selector) for f in reply.selectors],
        empty="No selector is saved. `controller fleet selector set NAME SELECTOR` saves one",
    )


@group.command(name="delete")
@click.argument("name")
@options.controller
def delete_selector(name: str, address: str | None) -> None:
    """Delete the saved selector NAME. Devices are not changed."""
    from fleetmark_protos.v1 import fleet_pb2

    name = name.removeprefix("@")
    with options.connect(address) as client:
        client.call(client.fleet.DeleteSelector, fleet_pb2.DeleteSelectorRequest(name=name))
    echo(f"@{name} is deleted")


COMMANDS = (
    group,
    renamed(set_selector, "save", "controller fleet selector set"),
    renamed(list_selectors, "saved", "controller fleet selector list"),
    renamed(delete_selector, "forget", "controller fleet selector delete"),
)
