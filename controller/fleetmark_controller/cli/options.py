"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from fleetmark_controller.client import Client

_CREDENTIALS = "fleetmark.credentials"
F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON with stable keys.")
fleet = click.option(
    "--fleet", "selector", metavar="SELECTOR", default="", help="Boards, like `arm64,site=lab1`."
)
campaign = click.option("--campaign", metavar="ID", default="", help="Only of this campaign.")


def controller(command: F) -> F:
    """Adds --controller and --credentials; see `connect`."""
    command = click.option(
        "--credentials",
        metavar="FILE",
        expose_value=False,
        callback=_remember,
        help="Who you are [default: FLEETMARK_CREDENTIALS, or what a controller left here].",
    )(command)
    return click.option(
        "--controller",
        "address",
        metavar="HOST:PORT",
        envvar="FLEETMARK_CONTROLLER",
        default=None,
        help="Address of the controller [default: this host].",
    )(command)


def _remember(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    del parameter
    ctx.meta[_CREDENTIALS] = value


def connect(address: str | None) -> Client:
    """A connection for the command that runs now.

    Raises:
        FleetmarkError: see `Client`.
    """
    from fleetmark_controller.client import Client

    return Client(address, click.get_current_context().meta.get(_CREDENTIALS))


def words(values: tuple[str, ...]) -> tuple[str, ...]:
    """Values of a repeatable option whose values may also be joined by commas."""
    return tuple(word for value in values for word in value.split(",") if word)
