"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

if TYPE_CHECKING:
    from fleetmark_controller.client.connection import Client

_CREDENTIALS = "fleetmark.credentials"
F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON with stable keys.")
fleet = click.option(
    "--fleet",
    "selector",
    metavar="SELECTOR",
    default="",
    help="Only devices that match, such as `arm64,site=lab1` or `online`.",
)
campaign = click.option(
    "--campaign", metavar="ID", default="", help="Only this campaign: part of its id, or `last`."
)


def controller(command: F, *, hidden: bool = False) -> F:
    """Add --controller and --credentials; see `connect`."""
    command = click.option(
        "--credentials",
        metavar="FILE",
        hidden=hidden,
        expose_value=False,
        callback=_remember,
        help="Credentials file [default: FLEETMARK_CREDENTIALS, or that of a local controller].",
    )(command)
    return click.option(
        "--controller",
        "address",
        metavar="HOST:PORT",
        hidden=hidden,
        envvar="FLEETMARK_CONTROLLER",
        default=None,
        help="Address of the controller [default: this host].",
    )(command)


def hidden_controller(command: F) -> F:
    """Add --controller and --credentials, without showing them in `--help`."""
    return controller(command, hidden=True)


def _remember(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    del parameter
    ctx.meta[_CREDENTIALS] = value


def connect(address: str | None) -> Client:
    """Return a connection for the current command.

    Raises:
        FleetmarkError: see `Client`.
    """
    from fleetmark_controller.client.connection import Client

    return Client(address, click.get_current_context().meta.get(_CREDENTIALS))


def credentials() -> str | None:
    """Return the file of the current command's option --credentials."""
    found = click.get_current_context().meta.get(_CREDENTIALS)
    return None if found is None else str(found)


class Duration(click.ParamType):  # type: ignore[type-arg]
    """Click parameter for `90s`, `30m`, `1h`, `2d` or plain seconds; the value is in seconds."""

    name = "time"
    _SECONDS: ClassVar[dict[str, int]] = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
    _MOST_S = 1e9

    def __init__(self, least_s: float = 0.0) -> None:
        """Accept durations of `least_s` or more."""
        self.least_s = least_s

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return seconds; a usage error for any other text, or if it is too short or too long."""
        match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", str(value))
        if match is None:
            self.fail(f"{value!r} is not a duration, such as 90s, 30m, 1h or 2d", param, ctx)
        seconds = float(match[1]) * self._SECONDS[match[2]]
        if seconds < self.least_s:
            self.fail(f"{value!r} is too short: the minimum is {self.least_s:g}s", param, ctx)
        if seconds >= self._MOST_S:
            self.fail(f"{value!r} is too long: the maximum is about 30 years", param, ctx)
        return seconds


class Celsius(click.ParamType):  # type: ignore[type-arg]
    """Click parameter for `40C`, `40°C` or plain degrees Celsius."""

    name = "temperature"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return degrees Celsius; a usage error for any other text, or if it is not possible."""
        from fleetmark_core.order import HIGHEST_START_C

        match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]+)?) ?°?C?", str(value), re.IGNORECASE)
        if match is None:
            self.fail(f"{value!r} is not a temperature, such as 40C", param, ctx)
        if not 0 < float(match[1]) <= HIGHEST_START_C:
            self.fail(f"{value!r} is not above 0 °C and at most {HIGHEST_START_C:g} °C", param, ctx)
        return float(match[1])


DURATION = Duration()
CELSIUS = Celsius()
TERM = Duration(least_s=1.0)
"""A duration of one second or more: a shorter one is a mistake."""


def words(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the values of a repeatable option, whose values may also be joined by commas."""
    return tuple(word for value in values for word in value.split(",") if word)
