"""What an operator states about the log of a power meter: checked values. Pure."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.serde import to_plain

AUTO = "auto"
CSV = "csv"
CLOCK, MARKER = "clock", "marker"
RELATIVE = ("relative_s", "relative_ms")
TIME_FORMATS = ("unix_s", "unix_ms", "iso", *RELATIVE)
POWER_UNITS = {"W": 1.0, "mW": 1e-3, "uW": 1e-6}
VOLTAGE_UNITS = {"V": 1.0, "mV": 1e-3}
CURRENT_UNITS = {"A": 1.0, "mA": 1e-3, "uA": 1e-6}
SCOPES = ("board", "battery", "cpu", "gpu", "memory")
MOST_CLOCK_OFFSET_S = 86_400.0
_MOST_NAME = 100
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}")
_WITH_UNCERTAINTY = re.compile(r"([^±]+?)(?:\s*(?:±|\+-|\+/-)\s*(.+))?")


@dataclass(frozen=True)
class MeterOptions:
    """What the operator stated; an empty text or None is not stated.

    Args:
        log_format: `auto`, `csv`, or a name of `formats.FORMATS`.
        time_column: heading of the column, or `#N` for column N, counted from 1; so are the others.
        power_column: column of the power; otherwise voltage and current are multiplied.
        voltage_column: column of the voltage.
        current_column: column of the current.
        power_unit: one of `POWER_UNITS`.
        voltage_unit: one of `VOLTAGE_UNITS`.
        current_unit: one of `CURRENT_UNITS`.
        time_format: one of `TIME_FORMATS`.
        utc_offset_s: offset of times that state none, in seconds east of UTC.
        log_start_unix_ns: time of the relative time 0, by the meter's clock, in ns since 1970.
        align: `clock` or `marker`; empty: `clock` if the offset of the clocks is stated.
        clock_offset_s: the meter's clock minus the device's clock, in seconds.
        clock_uncertainty_s: largest error of `clock_offset_s`, in seconds.
        accuracy_percent: largest error of the meter, in percent of the reading.
        meter: name of the meter.
        scope: what the meter measures, one of `SCOPES`.
    """

    log_format: str = AUTO
    time_column: str = ""
    power_column: str = ""
    voltage_column: str = ""
    current_column: str = ""
    power_unit: str = ""
    voltage_unit: str = ""
    current_unit: str = ""
    time_format: str = ""
    utc_offset_s: float | None = None
    log_start_unix_ns: int | None = None
    align: str = ""
    clock_offset_s: float | None = None
    clock_uncertainty_s: float | None = None
    accuracy_percent: float | None = None
    meter: str = ""
    scope: str = "board"

    @property
    def method(self) -> str:
        """Return how the clocks are aligned: `CLOCK`, `MARKER`, or empty if it is not stated."""
        if self.align:
            return self.align
        return "" if self.clock_offset_s is None else CLOCK

    def as_document(self) -> dict[str, Any]:
        """Return the stated options as plain values."""
        plain: dict[str, Any] = to_plain(self)
        return {name: value for name, value in plain.items() if value not in ("", None)}


def check_options(options: MeterOptions) -> None:
    """Check options that a client sent.

    Raises:
        FleetmarkError: USAGE: names the option, its value and the rule.
    """
    for name in ("time_column", "power_column", "voltage_column", "current_column", "meter"):
        text = getattr(options, name)
        if text and not _NAME.fullmatch(text):
            raise option_error(
                f"--{name.replace('_', '-')}",
                f"the name has control characters or more than {_MOST_NAME} characters",
            )
    for name, allowed in (
        ("power_unit", tuple(POWER_UNITS)),
        ("voltage_unit", tuple(VOLTAGE_UNITS)),
        ("current_unit", tuple(CURRENT_UNITS)),
        ("time_format", TIME_FORMATS),
        ("align", (CLOCK, MARKER)),
        ("scope", SCOPES),
    ):
        value = getattr(options, name)
        if value and value not in allowed:
            raise option_error(
                f"--{name.replace('_', '-')}",
                f"{value[:40]!r} is unknown; use one of {', '.join(allowed)}",
            )
    if not options.scope:
        raise option_error("--scope", f"is empty; use one of {', '.join(SCOPES)}")
    for name, low, high in (
        ("clock_offset_s", -MOST_CLOCK_OFFSET_S, MOST_CLOCK_OFFSET_S),
        ("clock_uncertainty_s", 0.0, MOST_CLOCK_OFFSET_S),
        ("utc_offset_s", -MOST_CLOCK_OFFSET_S, MOST_CLOCK_OFFSET_S),
        ("accuracy_percent", 0.0, 100.0),
    ):
        number = getattr(options, name)
        if number is not None and not (math.isfinite(number) and low <= number <= high):
            option = {
                "clock_offset_s": "--clock-offset",
                "clock_uncertainty_s": "--clock-offset",
                "utc_offset_s": "--utc-offset",
                "accuracy_percent": "--meter-accuracy",
            }[name]
            raise option_error(option, f"{number:g} is not between {low:g} and {high:g}")
    start = options.log_start_unix_ns
    if start is not None and not 0 <= start < 1 << 62:
        raise option_error("--log-start", "the time is before 1970 or too late")
    if options.clock_offset_s is not None and options.clock_uncertainty_s is None:
        raise option_error(
            "--clock-offset",
            "the uncertainty is missing, and the energy depends on it; write it after ±,"
            f" such as {options.clock_offset_s:g}±0.1",
        )
    _check_columns(options)


def _check_columns(options: MeterOptions) -> None:
    columns = (options.power_column, options.voltage_column, options.current_column)
    if options.power_column and (options.voltage_column or options.current_column):
        raise option_error(
            "--power-column",
            "exclude each other: --power-column, or --voltage-column with --current-column",
        )
    if bool(options.voltage_column) != bool(options.current_column):
        raise option_error("--voltage-column", "needs --current-column, and the reverse")
    if options.log_format == CSV or options.time_column or any(columns):
        if not options.time_column or not any(columns):
            raise option_error(
                "--time-column",
                "a log of columns needs --time-column, and --power-column or --voltage-column with"
                " --current-column",
            )
        if not options.time_format:
            raise option_error("--time-format", f"is missing; use one of {', '.join(TIME_FORMATS)}")
    _check_units(options)
    _check_times(options)


def _check_units(options: MeterOptions) -> None:
    """Refuse a unit that no column has: it would be ignored."""
    for name in ("power", "voltage", "current"):
        unit, column = getattr(options, f"{name}_unit"), getattr(options, f"{name}_column")
        if unit and not column:
            raise option_error(
                f"--{name}-unit",
                f"{unit!r} has no meaning without --{name}-column: known formats have units of"
                f" their own; leave it out, or name the columns of the log with --{name}-column",
            )


def _check_times(options: MeterOptions) -> None:
    """Refuse an option about times that the times of the log do not need: it would be ignored."""
    if options.utc_offset_s is not None and options.time_format != "iso":
        raise option_error(
            "--utc-offset",
            f"has no meaning for times of form {options.time_format or 'auto'}, only for"
            " --time-format iso; leave it out. If the clock was wrong, use --clock-offset",
        )
    if options.log_start_unix_ns is not None and options.time_format not in ("", *RELATIVE):
        raise option_error(
            "--log-start",
            f"has no meaning for times of form {options.time_format}, which are absolute, only for"
            f" {' and '.join(RELATIVE)}; leave it out",
        )


def option_error(option: str, what: str) -> FleetmarkError:
    """Return the error of an option."""
    return FleetmarkError(ErrorKind.USAGE, what, option)


def parse_clock_offset(text: str) -> tuple[float, float | None]:
    """Return offset and uncertainty in seconds of `1.5±0.1` (also `1.5+-0.1`) or `1.5`.

    Raises:
        ValueError: it is not such a text, or a number is not finite.
    """
    found = _WITH_UNCERTAINTY.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    offset = float(found[1])
    uncertainty = None if found[2] is None else float(found[2])
    if not math.isfinite(offset) or not (uncertainty is None or 0 <= uncertainty < math.inf):
        raise ValueError(text)
    return offset, uncertainty
