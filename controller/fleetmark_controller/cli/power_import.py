"""`controller results import-power`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from fleetmark_cli.output import echo
from fleetmark_cli.renamed import RenamedOption
from fleetmark_controller.cli import options
from fleetmark_controller.cli.meter_summary import meter_lines
from fleetmark_controller.evaluation.power_meter.formats import FORMATS
from fleetmark_controller.evaluation.power_meter.options import (
    AUTO,
    CLOCK,
    CSV,
    CURRENT_UNITS,
    MARKER,
    POWER_UNITS,
    SCOPES,
    TIME_FORMATS,
    VOLTAGE_UNITS,
    MeterOptions,
    option_error,
    parse_clock_offset,
)
from fleetmark_core.plural import counted

_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)")


def _clock_offset(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[float, float | None] | None:
    """Return seconds, and their uncertainty if it is given after ±."""
    try:
        return None if value is None else parse_clock_offset(value)
    except ValueError:
        text = f"{value!r} is not a number of seconds, such as 1.5 or 1.5+-0.1"
        raise click.BadParameter(text, ctx, param) from None


def _percent(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return a number that may have a percent sign."""
    if value is None:
        return None
    try:
        number = float(value.strip().removesuffix("%"))
    except ValueError:
        number = math.nan
    if not 0 <= number <= 100:
        raise click.BadParameter(f"{value!r} is not a percentage, such as 1%", ctx, param)
    return number


def _utc_offset(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return an offset to UTC in seconds."""
    if value is None:
        return None
    found = _OFFSET.fullmatch(value.strip())
    if found is None or int(found[2]) > 23 or int(found[3]) > 59:
        raise click.BadParameter(f"{value!r} is not an offset to UTC, such as +02:00", ctx, param)
    seconds = int(found[2]) * 3600 + int(found[3]) * 60
    return float(-seconds if found[1] == "-" else seconds)


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Return an ISO 8601 time in nanoseconds since 1970."""
    from fleetmark_core.clock import parse_iso

    try:
        return None if value is None else parse_iso(value)
    except ValueError:
        text = f"{value!r} is not an ISO 8601 time, such as 2026-01-31T12:00:00Z"
        raise click.BadParameter(text, ctx, param) from None


@click.command(name="import-power")
@click.argument("run")
@click.argument("log", metavar="LOG", type=click.Path(dir_okay=False, exists=True))
@click.option(
    "--format",
    "log_format",
    type=click.Choice([AUTO, CSV, *FORMATS]),
    default=AUTO,
    show_default=True,
    help="Format of the log.",
)
@click.option("--time-column", default="", metavar="NAME", help="Column of the time, or #N.")
@click.option("--power-column", default="", metavar="NAME", help="Column of the power, or #N.")
@click.option("--voltage-column", default="", metavar="NAME", help="Column of the voltage, or #N.")
@click.option("--current-column", default="", metavar="NAME", help="Column of the current, or #N.")
@click.option("--power-unit", type=click.Choice(list(POWER_UNITS)), help="[default: W]")
@click.option("--voltage-unit", type=click.Choice(list(VOLTAGE_UNITS)), help="[default: V]")
@click.option("--current-unit", type=click.Choice(list(CURRENT_UNITS)), help="[default: A]")
@click.option(
    "--time-format", type=click.Choice(TIME_FORMATS), help="Form of the times in the log."
)
@click.option(
    "--utc-offset",
    "utc_offset_s",
    callback=_utc_offset,
    metavar="+HH:MM",
    help="Offset to UTC of times that state none.",
)
@click.option(
    "--log-start",
    "log_start_unix_ns",
    callback=_moment,
    metavar="T",
    help="Time of the relative time 0, by the meter's clock; UTC unless it states an offset.",
)
@click.option(
    "--align",
    type=click.Choice([CLOCK, MARKER]),
    help="Find the run by --clock-offset, or by the step of power that it causes.",
)
@click.option(
    "--clock-offset",
    "clock_offset",
    cls=RenamedOption,
    old=("--ahead",),
    callback=_clock_offset,
    metavar="S+-S",
    help="Seconds by which the clock of the meter was ahead of the device's clock, and their"
    " uncertainty, which a log of PTDaemon does not need.",
)
@click.option(
    "--meter-accuracy",
    "accuracy_percent",
    callback=_percent,
    metavar="P%",
    help="Accuracy of the meter, in percent of the reading.",
)
@click.option("--meter", default="", metavar="NAME", help="Name of the meter, for energy_source.")
@click.option(
    "--scope",
    type=click.Choice(SCOPES),
    default=SCOPES[0],
    show_default=True,
    help="What the meter measures.",
)
@click.option("--replace", is_flag=True, help="Replace the energy of another log.")
@click.option("--dry-run", is_flag=True, help="Print what would be stored, and store nothing.")
@options.as_json
@options.controller
def command(
    run: str,
    log: str,
    clock_offset: tuple[float, float | None] | None,
    replace: bool,
    dry_run: bool,
    as_json: bool,
    address: str | None,
    **stated: Any,
) -> None:
    """Import the energy of a RUN from the LOG of a power meter.

    A log of PTDaemon (spl.txt) is recognized; its energy is official. Logs of other meters need the
    offset of the clocks (--clock-offset) or --align marker. A repeated import has no effect.
    """
    from fleetmark_controller.client import power_logs

    offset_s, uncertainty_s = (None, None) if clock_offset is None else clock_offset
    found = MeterOptions(
        **{name: value for name, value in stated.items() if value is not None},
        clock_offset_s=offset_s,
        clock_uncertainty_s=uncertainty_s,
    )
    if found.log_format == AUTO and power_logs.is_ptdaemon_log(Path(log)):
        _check_ptdaemon(found, replace=replace, dry_run=dry_run)
        _import_ptdaemon(run, log, offset_s or 0.0, as_json, address)
        return
    power_logs.check_head(Path(log), found)
    with options.connect(address) as client:
        reply = power_logs.send_meter_log(
            client, run, Path(log), found, replace=replace, dry_run=dry_run
        )
    figures = json.loads(reply.figures)
    if as_json:
        from fleetmark_cli import output

        output.print_json(
            {
                "run_id": reply.run_id,
                "changed": reply.changed,
                "dry_run": dry_run,
                "conflict": reply.conflict or None,
                **figures,
            }
        )
        return
    for line in _lines(reply.run_id, figures):
        echo(line)
    if reply.conflict:
        echo(f"Nothing was stored (--dry-run): the run {reply.conflict}. Use --replace")
    elif dry_run:
        echo("Nothing was stored (--dry-run).")
    elif not reply.changed:
        echo("The log was imported before; nothing was changed.")


def _lines(run_id: str, figures: Mapping[str, Any]) -> Iterator[str]:
    meter = figures["energy_meter"]
    bound = figures.get("energy_uncertainty_j")
    within = "" if bound is None else f" ± {bound:.3g} J"
    yield (
        f"run {run_id}: {figures['energy_j']:.4g} J{within} at {figures['power_mean_w']:.4g} W, by"
        f" {counted(meter['readings'], 'reading')} of {meter['meter']}"
    )
    for line in meter_lines(meter):
        yield f"  {line}"


def _check_ptdaemon(found: MeterOptions, *, replace: bool, dry_run: bool) -> None:
    """Refuse options that have no meaning for a log of PTDaemon."""
    if dry_run:
        raise option_error("--dry-run", "is not available for logs of PTDaemon")
    if replace:
        raise option_error(
            "--replace",
            "has no meaning for a log of PTDaemon, whose energy always replaces that of other"
            " meters; leave it out",
        )
    if found.scope != SCOPES[0]:
        raise option_error(
            "--scope",
            f"{found.scope!r} has no meaning for a log of PTDaemon, whose energy is that of the"
            f" {SCOPES[0]}; leave it out",
        )
    if found.clock_uncertainty_s is not None:
        raise option_error("--clock-offset", "a log of PTDaemon takes no uncertainty (±)")
    allowed = {"clock_offset_s", "clock_uncertainty_s", "log_format", "scope"}
    other = next((name for name in found.as_document() if name not in allowed), None)
    if other is not None:
        raise option_error(_NAMES.get(other, other), "has no meaning for a log of PTDaemon")


_NAMES = {
    **{f"{name}_column": f"--{name}-column" for name in ("time", "power", "voltage", "current")},
    **{f"{name}_unit": f"--{name}-unit" for name in ("power", "voltage", "current")},
    "time_format": "--time-format",
    "utc_offset_s": "--utc-offset",
    "log_start_unix_ns": "--log-start",
    "align": "--align",
    "accuracy_percent": "--meter-accuracy",
    "meter": "--meter",
}


def _import_ptdaemon(
    run: str, log: str, clock_offset_s: float, as_json: bool, address: str | None
) -> None:
    from fleetmark_cli import output
    from fleetmark_controller.client.power_logs import send_power

    with options.connect(address) as client:
        reply = send_power(client, run, Path(log), clock_offset_s)
    if as_json:
        output.print_json(
            {
                "run_id": reply.run_id,
                "energy_j": reply.energy_j,
                "power_mean_w": reply.power_mean_w,
                "energy_per_query_j": reply.energy_per_query_j or None,
                "samples": reply.samples,
            }
        )
        return
    echo(
        f"run {reply.run_id}: {reply.energy_j:.4g} J at {reply.power_mean_w:.4g} W, by"
        f" {counted(reply.samples, 'sample')} of the analyzer"
    )
