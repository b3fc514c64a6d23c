"""Readings of a power meter's log, streamed in chunks: any size in bounded memory.

Every row is checked: a number that is not finite, an impossible power, a clock that goes backwards
and a row without a column end the reading with the number of its line. Text after the last newline
was still being written when the log ended, and does not count.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from fleetmark_controller.evaluation.power_meter.formats import HEAD_LINES, Layout, find_layout
from fleetmark_controller.evaluation.power_meter.options import RELATIVE, MeterOptions
from fleetmark_controller.loadgen.errors import IngestError, excerpt
from fleetmark_core.regular_file import open_regular

Floats = NDArray[np.float64]

MAX_LOG_BYTES = 4 << 30
MAX_ROWS = 100_000_000
"""One hour at 5 kHz has 18 million rows."""
MAX_LINE_BYTES = 8192
MOST_W = 1e6
_BLOCK_BYTES = 4 << 20
_HEAD_BYTES = 256 << 10
# Relative times as large as this are Unix times: 1e8 s are three years.
_MOST_RELATIVE_S = 1e8
_MOST_TIME_S = 1e11
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s*(Z|[+-]\d\d:?\d\d)?")


class MeterLog:
    """The readings of a log: chunks of times (s) and power (W), the times strictly increasing.

    Readings with the same time are averaged: a program may read the clock once for many of them.
    Times are seconds since 1970 by the meter's clock, or since any moment if they are relative.
    """

    def __init__(self, path: Path, options: MeterOptions) -> None:
        """Read the headings.

        Raises:
            IngestError: the file cannot be read, is too large, or has no known columns.
        """
        self._path = path
        self._options = options
        self.rows = 0
        """Rows read by the latest pass."""
        self.backward_s = 0.0
        """Largest step back of the clock in the latest pass, if the format allows it."""
        self.first_s = self.last_s = 0.0
        """Times of the first and the last reading of the latest pass."""
        try:
            with open_regular(path) as file:
                size = file.seek(0, 2)
                if size > MAX_LOG_BYTES:
                    raise IngestError(f"is larger than {MAX_LOG_BYTES >> 30} GiB")
                file.seek(0)
                head = file.read(_HEAD_BYTES).split(b"\n")[:HEAD_LINES]
        except OSError as error:
            raise IngestError(f"cannot be read: {error.strerror}") from error
        lines = [line[:MAX_LINE_BYTES].decode(errors="replace") for line in head]
        self.layout: Layout = find_layout(lines, options)
        is_relative = self.layout.time_format in RELATIVE
        start = options.log_start_unix_ns
        if start is not None and not is_relative:
            raise IngestError(
                f"has absolute times ({self.layout.time_format}), so that --log-start has no"
                " meaning; leave it out. If the clock was wrong, use --clock-offset"
            )
        self.is_absolute = not is_relative or start is not None
        self._base_s = 0.0 if start is None else start / 1e9

    def chunks(self) -> Iterator[tuple[Floats, Floats]]:
        """Yield times and power. Each call is a new pass over the file.

        Raises:
            IngestError: a row is not valid.
        """
        self.rows, self.backward_s = 0, 0.0
        held: tuple[float, float, int] | None = None  # time, sum of power and count of the last
        try:
            with open_regular(self._path) as file:
                for number, lines in _blocks(file):
                    skipped = max(0, self.layout.first_line - number)
                    part = self._parse(lines[skipped:], number + skipped)
                    if part is None:
                        continue
                    times, power = part
                    self._check(times, power, lines[skipped:], number + skipped)
                    times = self._forward(times, held, number + skipped)
                    if held is None:
                        self.first_s = float(times[0])
                    self.last_s = float(times[-1])
                    groups, held = _merged(times, power, held)
                    if groups[0].size:
                        yield groups
        except OSError as error:
            raise IngestError(f"cannot be read: {error.strerror}") from error
        if held is not None:
            yield np.array([held[0]]), np.array([held[1] / held[2]])

    def _parse(self, lines: list[str], number: int) -> tuple[Floats, Floats] | None:
        lines_kept = [line for line in lines if line and not line.isspace()]
        if not lines_kept:
            return None
        self.rows += len(lines_kept)
        if self.rows > MAX_ROWS:
            raise IngestError(f"has more than {MAX_ROWS:,} rows")
        layout = self.layout
        try:
            if layout.time_format == "iso":
                times, table = self._iso_rows(lines_kept)
            else:
                table = _numbers(lines_kept, layout, layout.columns)
                times, table = table[:, 0], table[:, 1:]
        except ValueError:
            raise self._row_error(lines, number) from None
        with np.errstate(over="ignore", invalid="ignore"):  # such numbers are refused later
            power = table[:, 0] * layout.factor
            if table.shape[1] == 2:
                power = power * table[:, 1]
        if layout.time_format in ("unix_ms", "relative_ms"):
            times = times / 1e3
        return times + self._base_s, power

    def _iso_rows(self, lines: list[str]) -> tuple[Floats, Floats]:
        layout = self.layout
        place = layout.columns[0]
        table = _numbers(lines, layout, layout.columns[1:])
        cells = (_cell(line, layout.delimiter, place) for line in lines)
        offset = self._options.utc_offset_s
        return np.fromiter((_unix_s(text, offset) for text in cells), np.float64, len(lines)), table

    def _check(self, times: Floats, power: Floats, lines: list[str], number: int) -> None:
        is_relative = self.layout.time_format in RELATIVE
        most = _MOST_RELATIVE_S if is_relative else _MOST_TIME_S
        since = np.abs(times - self._base_s)
        good = np.isfinite(times) & (since < most) & (np.abs(power) < MOST_W)
        if good.all():
            return
        row = int(np.argmin(good))
        place, at_s, watts = _line_of(lines, number, row), float(times[row]), float(power[row])
        if not np.isfinite(watts) or not np.isfinite(at_s):
            raise IngestError(f"has a reading that is not a finite number in line {place}")
        if abs(watts) >= MOST_W:
            raise IngestError(f"has an impossible power in line {place}: {watts:g} W")
        advice = "" if not is_relative else "; if these are Unix times, use --time-format unix_s"
        raise IngestError(f"has an impossible time in line {place}: {at_s:g} s{advice}")

    def _forward(self, times: Floats, held: tuple[float, float, int] | None, number: int) -> Floats:
        """Return times that never decrease, if the format allows the steps back."""
        before = times[0] if held is None else held[0]
        highest = np.maximum(np.maximum.accumulate(times), before)
        back = highest - times
        largest = float(back.max())
        if largest <= 0:
            return times
        if largest > self.layout.backward_s:
            row = int(np.argmax(back > self.layout.backward_s))
            raise IngestError(
                f"has a clock that goes backwards by {float(back[row]):.6g} s near line"
                f" {number + row + 1}"
            )
        self.backward_s = max(self.backward_s, largest)
        return highest

    def _row_error(self, lines: list[str], number: int) -> IngestError:
        """Return the error that names the first line that cannot be parsed."""
        layout = self.layout
        for place, line in enumerate(lines, number + 1):
            if not line or line.isspace():
                continue
            for index, column in enumerate(layout.columns):
                try:
                    text = _cell(line, layout.delimiter, column)
                except ValueError:
                    count = f"fewer than {column + 1} columns"
                    return IngestError(f"has {count} in line {place}: {excerpt(line)}")
                is_time = index == 0 and layout.time_format == "iso"
                try:
                    _unix_s(text, self._options.utc_offset_s) if is_time else float(text)
                except ValueError as error:
                    why = str(error) if is_time else "is not a number"
                    return IngestError(f"has a bad value in line {place}: {excerpt(text)} {why}")
        return IngestError(f"has a bad row after line {number}")


def _blocks(file: BinaryIO) -> Iterator[tuple[int, list[str]]]:
    """Yield complete lines in blocks, each with the number of lines before it."""
    number, rest = 0, b""
    while block := file.read(_BLOCK_BYTES):
        data = rest + block
        end = data.rfind(b"\n")
        rest = data[end + 1 :]
        if end >= 0:
            # Latin 1 decodes any byte. Headings were decoded elsewhere; rows hold numbers.
            lines = data[:end].decode("latin-1").split("\n")
            yield number, lines
            number += len(lines)
        if len(rest) > MAX_LINE_BYTES:
            raise IngestError(f"has more than {MAX_LINE_BYTES} bytes in line {number + 1}")


def _numbers(lines: list[str], layout: Layout, columns: tuple[int, ...]) -> Floats:
    """Parse columns of rows.

    Raises:
        ValueError: a row has too few columns, or a cell is not a number.
    """
    table = np.loadtxt(
        lines,
        dtype=np.float64,
        comments=None,
        delimiter=layout.delimiter,
        usecols=columns,
        ndmin=2,
        quotechar='"',
    )
    if table.shape != (len(lines), len(columns)):
        raise ValueError("rows")
    return table


def _cell(line: str, delimiter: str | None, place: int) -> str:
    if delimiter is None:
        cells = line.split()
    else:
        try:
            cells = next(csv.reader([line.rstrip("\r")], delimiter=delimiter), [])
        except csv.Error as error:
            raise ValueError(str(error)) from error
    if place >= len(cells):
        raise ValueError("columns")
    return cells[place].strip()


def _line_of(lines: list[str], number: int, row: int) -> int:
    """Return the number of the line of a row, where lines without text have no row."""
    places = [place for place, line in enumerate(lines, 1) if line and not line.isspace()]
    return number + places[row]


def _unix_s(text: str, utc_offset_s: float | None) -> float:
    """Return the seconds since 1970 of an ISO 8601 time.

    Raises:
        ValueError: it is not such a time, or its offset to UTC is not known.
    """
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError("is not an ISO 8601 time")
    day, clock, fraction, zone = found.groups()
    seconds = _whole_seconds(day, clock, zone or "")
    if zone is None:
        if utc_offset_s is None:
            raise ValueError("states no offset to UTC; give it with --utc-offset")
        seconds -= utc_offset_s
    return seconds + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)


@lru_cache(maxsize=4096)
def _whole_seconds(day: str, clock: str, zone: str) -> float:
    zone = "+00:00" if zone in ("", "Z") else zone
    if len(zone) == 5:
        zone = f"{zone[:3]}:{zone[3:]}"
    try:
        return datetime.fromisoformat(f"{day}T{clock}{zone}").astimezone(timezone.utc).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError("is not an ISO 8601 time") from error


def _merged(
    times: Floats, power: Floats, held: tuple[float, float, int] | None
) -> tuple[tuple[Floats, Floats], tuple[float, float, int]]:
    """Return the means of readings with the same time, and the last group, which may go on."""
    starts = np.flatnonzero(np.concatenate(([True], times[1:] > times[:-1])))
    sums = np.add.reduceat(power, starts)
    counts = np.diff(np.append(starts, times.size))
    firsts = times[starts]
    if held is not None:
        if held[0] == firsts[0]:
            sums[0] += held[1]
            counts[0] += held[2]
        else:
            firsts = np.concatenate(([held[0]], firsts))
            sums = np.concatenate(([held[1]], sums))
            counts = np.concatenate(([held[2]], counts))
    last = (float(firsts[-1]), float(sums[-1]), int(counts[-1]))
    return (firsts[:-1], sums[:-1] / counts[:-1]), last
