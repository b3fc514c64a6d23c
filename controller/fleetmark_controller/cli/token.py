"""`controller token`: the join tokens with which devices enroll."""

from __future__ import annotations

import click

from fleetmark_cli.output import echo
from fleetmark_controller.cli import options


@click.group(name="token")
def command() -> None:
    """Join tokens: what lets boards in."""


@command.command(name="create")
@click.option(
    "--ttl",
    "life_s",
    type=options.TERM,
    default="1h",
    show_default=True,
    help="How long it counts.",
)
@click.option("--uses", type=click.IntRange(1), default=1, show_default=True, help="For how many.")
@click.option(
    "--label", "labels", metavar="KEY=VALUE", multiple=True, help="Label of boards that use it."
)
@click.option("--approve", is_flag=True, help="Boards that use it need no further approval.")
@options.as_json
@options.controller
def create(
    life_s: float,
    uses: int,
    labels: tuple[str, ...],
    approve: bool,
    as_json: bool,
    address: str | None,
) -> None:
    """Make a token, and print the line to paste on a board. It is shown this once."""
    from fleetmark_cli import output
    from fleetmark_protos.v1 import admin_pb2

    chosen = dict(_label(text) for text in labels)
    request = admin_pb2.CreateTokenRequest(
        ttl_ns=int(life_s * 1e9), uses=uses, labels=chosen, approve=approve
    )
    with options.connect(address) as client:
        reply = client.call(client.admin.CreateToken, request)
        reach = join_line_address(client.address)
    line = f"agent start --controller {reach} --token {reply.token}"
    if as_json:
        output.print_json(
            {
                "token_id": reply.token_id,
                "token": reply.token,
                "expires_at": reply.expires_at,
                "command": line,
            }
        )
        return
    echo(line)
    boards = "one board" if uses == 1 else f"{uses} boards"
    echo(f"Counts for {boards} until {reply.expires_at}.", err=True)
    if not approve:
        echo("Then: controller fleet approve NAME", err=True)


def join_line_address(address: str) -> str:
    """Return the address that devices dial for a controller that commands reach at `address`."""
    from fleetmark_controller.client.credentials import homes_here
    from fleetmark_controller.home.endpoint import read_device_endpoint, read_endpoint

    for home in homes_here():
        if read_endpoint(home)[0] == address:
            return read_device_endpoint(home) or address
    return address


@command.command(name="list")
@options.as_json
@options.controller
def list_tokens(as_json: bool, address: str | None) -> None:
    """List the tokens, without their secrets."""
    from fleetmark_cli import output, tables
    from fleetmark_protos.plain import to_plain
    from fleetmark_protos.v1 import admin_pb2

    with options.connect(address) as client:
        reply = client.call(client.admin.ListTokens, admin_pb2.ListTokensRequest())
    if as_json:
        output.print_json([to_plain(token) for token in reply.tokens])
        return
    tables.print_table(
        ("token", "state", "used", "approves", "labels", "created by", "expires"),
        [
            (
                token.token_id,
                token.state,
                f"{token.used} of {token.uses}",
                token.approve,
                ",".join(f"{key}={value}" for key, value in sorted(token.labels.items())) or None,
                token.created_by,
                token.expires_at,
            )
            for token in reply.tokens
        ],
        empty="No tokens. `controller token create` makes one",
    )


@command.command(name="revoke")
@click.argument("token")
@options.controller
def revoke(token: str, address: str | None) -> None:
    """End a token, named by its id or any part of it."""
    from fleetmark_protos.v1 import admin_pb2

    with options.connect(address) as client:
        reply = client.call(client.admin.RevokeToken, admin_pb2.RevokeTokenRequest(token_id=token))
    echo(f"Token {reply.token_id} is revoked.")


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE", param_hint="--label")
    return key, value
