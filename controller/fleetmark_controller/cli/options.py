"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON with stable keys.")
fleet = click.option(
    "--fleet", "selector", metavar="SELECTOR", default="", help="Boards, like `arm64,site=lab1`."
)
campaign = click.option("--campaign", metavar="ID", default="", help="Only of this campaign.")


def controller(command: F) -> F:
    """Adds --controller."""
    return click.option(
        "--controller",
        "address",
        metavar="HOST:PORT",
        envvar="FLEETMARK_CONTROLLER",
        default=None,
        help="Address of the controller [default: this host].",
    )(command)


def words(values: tuple[str, ...]) -> tuple[str, ...]:
    """Values of a repeatable option whose values may also be joined by commas."""
    return tuple(word for value in values for word in value.split(",") if word)
