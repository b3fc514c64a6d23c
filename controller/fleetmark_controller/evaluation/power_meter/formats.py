"""Formats of the logs of power meters: which columns hold time and power. Pure.

A format is known by its headings. They follow from public sources:

- `monsoon-powertool`: CSV export of PowerTool for Monsoon's power monitors; scripts that read it
  name the headings. Times are relative.
- `monsoon-python`: CSV of Monsoon's Python library (`sampleEngine`). The heading of the time is
  `Time(ms)` in the original and `Time(s)` in later versions, but the original writes seconds, too:
  `time.time()` minus the start. All readings of a USB packet have the same time.
- `joulescope`: recorded statistics of the Joulescope UI: relative seconds, A, V, W.
- `fnirsi-logger`: the program fnirsi-usb-power-data-logger for FNB48, FNB48S, FNB58 and C1: Unix
  seconds, V, A, separated by spaces. The clock is read once per packet, so that times of packets
  overlap by a few milliseconds.
- `rd-usb`: CSV export of the program rd-usb for UM24C, UM25C, UM34C and TC66C: Unix seconds, W.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass

from fleetmark_controller.evaluation.power_meter.headings import checked_factor
from fleetmark_controller.evaluation.power_meter.options import (
    AUTO,
    CSV,
    CURRENT_UNITS,
    POWER_UNITS,
    VOLTAGE_UNITS,
    MeterOptions,
    option_error,
)
from fleetmark_controller.loadgen.errors import IngestError, excerpt

HEAD_LINES = 100
"""The headings are in one of so many first lines."""
_DELIMITERS = (",", ";", "\t", " ")
_BOM = "\ufeff"


@dataclass(frozen=True)
class LogFormat:
    """A known format.

    Args:
        name: its name for `--format`.
        title: the meters and the program that writes it.
        time: possible headings of the time.
        power: heading and factor to W of the power; empty if voltage and current are multiplied.
        voltage: heading and factor to V.
        current: heading and factor to A.
        time_format: one of `options.TIME_FORMATS`.
        backward_s: largest step back of the clock that the program itself causes, in s.
        least_rate_hz: lowest rate of readings at which the unit of the time is certain.
    """

    name: str
    title: str
    time: tuple[str, ...]
    time_format: str
    power: tuple[str, float] = ("", 1.0)
    voltage: tuple[str, float] = ("", 1.0)
    current: tuple[str, float] = ("", 1.0)
    backward_s: float = 0.0
    least_rate_hz: float = 0.0


FORMATS: dict[str, LogFormat] = {
    known.name: known
    for known in (
        LogFormat(
            "monsoon-powertool",
            "Monsoon power monitor, CSV export of PowerTool",
            ("Time (s)",),
            "relative_s",
            power=("Main Avg Power (mW)", 1e-3),
            voltage=("Main Avg Voltage (V)", 1.0),
            current=("Main Avg Current (mA)", 1e-3),
        ),
        LogFormat(
            "monsoon-python",
            "Monsoon power monitor, CSV of the Python library",
            ("Time(s)", "Time(ms)"),
            "relative_s",
            voltage=("Main Voltage(V)", 1.0),
            current=("Main(mA)", 1e-3),
            # Monsoon measures 5000 times per second. Milliseconds read as seconds give 5 Hz.
            least_rate_hz=50.0,
        ),
        LogFormat(
            "joulescope",
            "Joulescope, recorded statistics of the Joulescope UI",
            ("#time",),
            "relative_s",
            power=("power", 1.0),
        ),
        LogFormat(
            "fnirsi-logger",
            "FNIRSI USB meter, log of fnirsi-usb-power-data-logger",
            ("timestamp",),
            "unix_s",
            voltage=("voltage_V", 1.0),
            current=("current_A", 1.0),
            backward_s=0.1,
        ),
        LogFormat(
            "rd-usb",
            "RuiDeng USB meter, CSV export of rd-usb",
            ("Unix time",),
            "unix_s",
            power=("Power (W)", 1.0),
        ),
    )
}


@dataclass(frozen=True)
class Layout:
    """Where the readings of one log are.

    `columns` are the indices of time and power, or of time, voltage and current. `factor` converts
    the power, or the product of voltage and current, to W. `first_line` is the index of the first
    line with readings. `delimiter` is None for any white space.
    """

    log_format: str
    title: str
    delimiter: str | None
    first_line: int
    columns: tuple[int, ...]
    factor: float
    time_format: str
    backward_s: float = 0.0
    least_rate_hz: float = 0.0


def check_format(options: MeterOptions) -> None:
    """Check that the format exists and agrees with the columns.

    Raises:
        FleetmarkError: USAGE.
    """
    if options.log_format not in (AUTO, CSV, *FORMATS):
        names = ", ".join((AUTO, CSV, *FORMATS))
        raise option_error(
            "--format", f"{options.log_format[:40]!r} is unknown; use one of {names}"
        )
    if options.time_column and options.log_format not in (AUTO, CSV):
        raise option_error("--time-column", f"format {options.log_format} has its own columns")


def find_layout(head: Sequence[str], options: MeterOptions) -> Layout:
    """Return the layout of a log with these first lines.

    Args:
        head: the first lines of the log.
        options: options that passed `check_options` and `check_format`.

    Raises:
        IngestError: the lines have no such columns, or are of no known format.
    """
    lines = [line.lstrip(_BOM).rstrip("\r\n") for line in head[:HEAD_LINES]]
    if options.time_column:
        return _named_layout(lines, options)
    known = FORMATS.values() if options.log_format == AUTO else (FORMATS[options.log_format],)
    for number, line in enumerate(lines):
        for delimiter in _DELIMITERS:
            cells = _cells(line, delimiter)
            for log_format in known:
                found = _known_layout(log_format, cells, delimiter, number, options)
                if found is not None:
                    return found
    raise _unknown_error(lines, options)


def _known_layout(
    known: LogFormat, cells: list[str], delimiter: str, number: int, options: MeterOptions
) -> Layout | None:
    time = next((cells.index(name) for name in known.time if name in cells), None)
    if time is None:
        return None
    power, voltage, current = known.power, known.voltage, known.current
    columns: tuple[int, ...]
    if power[0] and power[0] in cells:
        columns, factor = (time, cells.index(power[0])), power[1]
    elif voltage[0] and voltage[0] in cells and current[0] in cells:
        columns = (time, cells.index(voltage[0]), cells.index(current[0]))
        factor = voltage[1] * current[1]
    else:
        return None
    return Layout(
        known.name,
        known.title,
        None if delimiter == " " else delimiter,
        number + 1,
        columns,
        factor,
        options.time_format or known.time_format,
        known.backward_s,
        known.least_rate_hz if options.time_format == "" and "Time(ms)" in cells else 0.0,
    )


def _named_layout(lines: list[str], options: MeterOptions) -> Layout:
    names = [options.time_column]
    if options.power_column:
        names.append(options.power_column)
    else:
        names += [options.voltage_column, options.current_column]
    numbers = [_number(name) for name in names]
    headings = [name for name, number in zip(names, numbers, strict=True) if number is None]
    for line_number, line in enumerate(lines):
        for delimiter in _DELIMITERS:
            cells = _cells(line, delimiter)
            columns = tuple(
                _place(name, cells) if number is None else number - 1
                for name, number in zip(names, numbers, strict=True)
            )
            if min(columns) < 0 or max(columns) >= len(cells):
                continue
            if not headings and not all(_is_number(cells[place]) for place in columns[1:]):
                continue
            # Columns named by number have the headings of the line before their first numbers.
            above = cells if headings else _cells(_line_above(lines, line_number), delimiter)
            return Layout(
                CSV,
                "CSV",
                None if delimiter == " " else delimiter,
                line_number + (1 if headings else 0),
                columns,
                _named_factor([above[n] if n < len(above) else "" for n in columns[1:]], options),
                options.time_format,
            )
    first = next((line for line in lines if line.strip()), "")
    raise IngestError(
        f"has no line with the columns {', '.join(map(repr, names))} among its first"
        f" {HEAD_LINES} lines; its first line is {excerpt(first)}"
    )


def _line_above(lines: list[str], number: int) -> str:
    """Return the last line with text before line `number`, or an empty text."""
    return next((line for line in reversed(lines[:number]) if line.strip()), "")


def _named_factor(headings: list[str], options: MeterOptions) -> float:
    """Return the factor to W of the columns with these headings, which must agree on their units.

    Raises:
        IngestError: a heading states another unit than the option.
    """
    if options.power_column:
        return checked_factor("power", headings[0], options.power_unit, POWER_UNITS)
    voltage = checked_factor("voltage", headings[0], options.voltage_unit, VOLTAGE_UNITS)
    return voltage * checked_factor("current", headings[1], options.current_unit, CURRENT_UNITS)


def _place(name: str, cells: list[str]) -> int:
    """Return the index of the one column with this heading, or -1."""
    wanted = name.strip().casefold()
    places = [place for place, cell in enumerate(cells) if cell.casefold() == wanted]
    if len(places) > 1:
        raise IngestError(
            f"has {len(places)} columns {excerpt(name)}; give the number of one, such as"
            f" #{places[0] + 1}"
        )
    return places[0] if places else -1


def _number(name: str) -> int | None:
    digits = name[1:]
    if name.startswith("#") and digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 1000:
        return int(digits)
    return None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cells(line: str, delimiter: str) -> list[str]:
    if delimiter == " ":
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _unknown_error(lines: list[str], options: MeterOptions) -> IngestError:
    first = next((line for line in lines if line.strip()), "")
    if options.log_format != AUTO:
        known = FORMATS[options.log_format]
        value = known.power[0] or f"{known.voltage[0]}, {known.current[0]}"
        return IngestError(
            f"is not of format {known.name}: none of its first {HEAD_LINES} lines has the headings"
            f" {known.time[0]}, {value}; its first line is {excerpt(first)}"
        )
    return IngestError(
        "contains no PTDaemon line (Time,…,Watts,…) and no headings of a known format"
        f" ({', '.join(FORMATS)}); its first line is {excerpt(first)}. Name its columns with"
        " --time-column, --power-column and --time-format"
    )
