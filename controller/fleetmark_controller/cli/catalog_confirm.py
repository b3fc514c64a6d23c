"""`controller catalog confirm`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options

if TYPE_CHECKING:
    from fleetmark_controller.client.connection import Client
    from fleetmark_protos.v1 import catalog_pb2

_PATIENCE_S = 900.0


@click.command(name="confirm")
@click.argument("name")
@click.option("--file", "files", multiple=True, help="Only the file of this name; repeatable.")
@click.option("--yes", is_flag=True, help="Confirm without a question.")
@click.option("--withdraw", is_flag=True, help="Withdraw the confirmation.")
@options.as_json
@options.controller
def confirm(
    name: str,
    files: tuple[str, ...],
    yes: bool,
    withdraw: bool,
    as_json: bool,
    address: str | None,
) -> None:
    """Confirm the files of component NAME whose publisher states only an MD5.

    The controller fetches the files, compares their MD5 and shows their SHA-256 and size. Only
    after an admin has confirmed these can jobs use the files.
    """
    import sys

    from fleetmark_cli import output
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import catalog_pb2

    with options.connect(address) as client:
        checked = _recorded(client, name, files) if withdraw else check(client, name, files)
        changed = [file for file in checked.files if bool(file.confirmed_by) == withdraw]
        if not as_json and not withdraw:
            _print(checked)
        if changed and not yes:
            if not sys.stdin.isatty():
                raise click.UsageError("there is no terminal to ask; give --yes")
            question = "Withdraw the confirmation?" if withdraw else "Confirm these files?"
            click.confirm(question, abort=True, err=True)
        if changed:
            request = catalog_pb2.ConfirmFilesRequest(
                component=checked.component, files=changed, withdraw=withdraw
            )
            done = client.call(client.catalog.ConfirmFiles, request, _PATIENCE_S)
            later = {file.name: file for file in done.files}
            checked = catalog_pb2.CheckFilesResult(
                component=checked.component,
                files=[later.get(file.name, file) for file in checked.files],
            )
    if as_json:
        output.print_json(to_plain(checked))
        return
    for file in checked.files:
        state = f"confirmed by {file.confirmed_by}" if file.confirmed_by else "not confirmed"
        echo(f"{checked.component}: {file.name} is {state}")


def check(
    client: Client, name: str, files: Sequence[str] = (), uploaded: Sequence[str] = ()
) -> catalog_pb2.CheckFilesResult:
    """Let the controller check the files of a component; print progress to stderr."""
    from fleetmark_protos.v1 import catalog_pb2

    request = catalog_pb2.CheckFilesRequest(name=name, files=files, uploaded=uploaded)
    result = catalog_pb2.CheckFilesResult()
    for event in client.stream(client.catalog.CheckFiles, request):
        if event.WhichOneof("body") == "result":
            result = event.result
        else:
            echo(event.progress, err=True)
    return result


def _recorded(client: Client, name: str, files: Sequence[str]) -> catalog_pb2.CheckFilesResult:
    """Return the confirmed files of a component, without fetching anything."""
    from fleetmark_protos.v1 import catalog_pb2

    detail = client.call(
        client.catalog.GetComponent, catalog_pb2.GetComponentRequest(name=name, with_md5=True)
    )
    return catalog_pb2.CheckFilesResult(
        component=f"{detail.component.kind}/{detail.component.name}",
        files=[
            catalog_pb2.CheckedFile(
                name=file.name,
                md5=file.md5,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                confirmed_by=file.confirmed_by,
            )
            for file in detail.files
            if file.md5 and (not files or file.name in files)
        ],
    )


def _print(checked: catalog_pb2.CheckFilesResult) -> None:
    from fleetmark_cli import output

    for file in checked.files:
        output.print_fields(
            {
                "file": file.name,
                "from": file.obtained_from or None,
                "md5": f"{file.md5}, as its publisher states",
                "sha256": f"{file.sha256}, computed by the controller" if file.sha256 else None,
                "size": f"{file.size_bytes:,} bytes" if file.sha256 else None,
            }
        )
