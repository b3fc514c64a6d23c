"""`controller operator`: the operators of a controller and their credentials."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options
from fleetmark_controller.cli.token import join_line_address


@click.group(name="operator")
def command() -> None:
    """People: who may use the controller, and as what."""


@command.command(name="create")
@click.argument("name")
@click.option(
    "--role",
    default="viewer",
    show_default=True,
    metavar="ROLE",
    help="viewer looks; operator also runs benchmarks; admin also decides who belongs.",
)
@click.option(
    "--ttl",
    "life_s",
    type=options.TERM,
    default="365d",
    show_default=True,
    help="How long it counts.",
)
@click.option("--out", metavar="FILE", help="Credentials file [default: NAME.json].")
@options.as_json
@options.controller
def create(
    name: str, role: str, life_s: float, out: str | None, as_json: bool, address: str | None
) -> None:
    """Make a credentials file for another machine's `controller` command.

    The key in it is made here and nowhere else: carry the file over a channel that you trust.
    """
    from pathlib import Path

    from fleetmark_cli import output
    from fleetmark_controller.home.credential_files import Credentials, write_credentials
    from fleetmark_core.device_keys import make_key, signing_request
    from fleetmark_core.errors import ErrorKind, FleetmarkError
    from fleetmark_protos.v1 import admin_pb2

    path = Path(out or f"{name}.json")
    if not out and path.name != f"{name}.json":
        raise FleetmarkError(ErrorKind.USAGE, f"{name[:80]!r} is not a name")
    if path.exists():
        raise FleetmarkError(ErrorKind.USAGE, "exists already", str(path), "Name another --out")
    key = make_key()
    request = admin_pb2.CreateOperatorRequest(
        name=name, role=role, csr=signing_request(key), lifetime_ns=int(life_s * 1e9)
    )
    with options.connect(address) as client:
        reply = client.call(client.admin.CreateOperator, request)
        reach = join_line_address(client.address)
    credentials = Credentials(
        reach, reply.ca.decode(), reply.certificate.decode(), key.decode(), name, role
    )
    try:
        write_credentials(path, credentials)
    except OSError as error:
        raise FleetmarkError(
            ErrorKind.DISK_FULL,
            f"cannot be written: {error.strerror}",
            str(path),
            f"Revoke {name} and try again",
        ) from error
    if as_json:
        output.print_json(
            {"name": name, "role": role, "file": str(path), "expires_at": reply.expires_at}
        )
        return
    echo(f"Wrote {path}: {name} is {role} until {reply.expires_at}.")
    echo(f"There: controller fleet list --credentials {path.name}")
    echo("or put it where commands look: ~/.config/fleetmark/credentials.json")


@command.command(name="list")
@options.as_json
@options.controller
def list_operators(as_json: bool, address: str | None) -> None:
    """List the people and their roles."""
    from fleetmark_cli import output, tables
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import admin_pb2

    with options.connect(address) as client:
        reply = client.call(client.admin.ListOperators, admin_pb2.ListOperatorsRequest())
    if as_json:
        output.print_json([to_plain(person) for person in reply.operators])
        return
    tables.print_table(
        ("name", "role", "state", "created", "key"),
        [
            (person.name, person.role, person.state, person.created_at, person.fingerprint[:16])
            for person in reply.operators
        ],
    )


@command.command(name="revoke")
@click.argument("name")
@options.controller
def revoke(name: str, address: str | None) -> None:
    """End a person's credential, at once."""
    from fleetmark_protos.v1 import admin_pb2

    with options.connect(address) as client:
        reply = client.call(client.admin.RevokeOperator, admin_pb2.RevokeOperatorRequest(name=name))
    echo(f"The credentials of {reply.name} are revoked.")
