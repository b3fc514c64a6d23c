"""Energy of the measured interval, from the device's own sensors, read during the job. Pure.

The agent writes the file: a table of the sensors, then one list per line with the nanoseconds since
the table's time and a reading of each sensor. For a *counter* of joules, the unwrapped difference
over the interval counts; it is interpolated linearly between readings. *Power* is interpolated
linearly and integrated (trapezoid rule). Time outside the measured interval does not count:
loading, warm-up, writing.

Readings that do not cover the interval, or have too long a gap, give no figure but a reason.
"""

from __future__ import annotations

import itertools
import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleetmark_controller.evaluation import thresholds
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.mllog import clean_text
from fleetmark_core.regular_file import open_regular

COUNTER, POWER = "counter", "power"
SLACK_NS = 50_000_000
"""Readings may begin or end this much inside the interval, which LoadGen marks in ms."""
LONGEST_GAP_NS = 2_500_000_000
_MOST_SOURCES = 64
_MOST_READING = 1 << 64
_MOST_J = 1e15
_About = tuple[str, str, str, float, int | None]
"""Name, scope, kind, unit and wraps_at of a sensor."""


@dataclass(frozen=True)
class EnergySource:
    """A sensor and its readings with their times; see the agent's `telemetry.power_sensors`."""

    name: str
    scope: str
    kind: str
    unit: float
    wraps_at: int | None
    times_ns: list[int]
    values: list[int]


@dataclass(frozen=True)
class PowerSeries:
    """All sensors of a device, and the device's clock at their time 0."""

    began_unix_ns: int
    sources: tuple[EnergySource, ...]


@dataclass(frozen=True)
class Energy:
    """The energy of an interval per sensor, and the official figure or why there is none."""

    joules: float | None
    source: str
    unavailable: str
    by_source: dict[str, float]


class NoFigure(Exception):
    """A sensor gives no figure for the interval; the text says why."""


def read(path: Path) -> PowerSeries:
    """Read a power file written by the agent.

    Raises:
        IngestError: it is not such a file, is too large, or contains impossible figures.
    """
    try:
        with open_regular(path) as file:
            data = file.read(thresholds.MAX_POWER_BYTES + 1)
    except OSError as error:
        raise IngestError(f"cannot be read: {error.strerror}", path.name) from error
    if len(data) > thresholds.MAX_POWER_BYTES:
        raise IngestError(f"is larger than {thresholds.MAX_POWER_BYTES >> 20} MiB", path.name)
    # Text after the last newline was still being written when the sampling ended.
    lines = data.split(b"\n")[:-1]
    try:
        head = json.loads(lines[0])
        if head["format"] != 1:
            raise IngestError("has an unknown format", path.name)
        began = head["began_unix_ns"]
        described = _unique_names([_described(table) for table in head["sources"][:_MOST_SOURCES]])
        rows = [row for line in lines[1:] if (row := _row(line, len(described))) is not None]
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise IngestError("is not a valid file of power readings", path.name) from error
    if type(began) is not int or not 0 <= began < 1 << 63:
        raise IngestError("has no valid start time", path.name)
    columns: list[tuple[list[int], list[int]]] = [([], []) for _ in described]
    last_ns = -1
    for at_ns, *values in rows:
        if at_ns <= last_ns:
            continue
        last_ns = at_ns
        for (times, readings), value in zip(columns, values, strict=True):
            if value is not None:
                times.append(at_ns)
                readings.append(value)
    found = (
        EnergySource(*about, times, readings)
        for about, (times, readings) in zip(described, columns, strict=True)
    )
    return PowerSeries(began, tuple(found))


def of_interval(series: PowerSeries, started_unix_ns: int, duration_s: float) -> Energy:
    """Return the energy of a measured interval, given in the device's own clock."""
    start_ns = started_unix_ns - series.began_unix_ns
    end_ns = start_ns + round(duration_s * 1e9)
    by_source: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for source in series.sources:
        try:
            by_source[source.name] = joules(source, start_ns, end_ns)
        except NoFigure as error:
            reasons[source.name] = str(error)
    counted, scope = select_sensors(series.sources, by_source)
    if not counted:
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        only = ", ".join(by_source)
        if not why and only:
            why = f"no sensor is known to measure the whole device (available: {only})"
        return Energy(None, "", why or "the device has no power or energy sensor", by_source)
    total = sum(by_source[source.name] for source in counted)
    names = " + ".join(source.name for source in counted)
    return Energy(total, f"{names} ({scope})", "", by_source)


def run_columns(
    joules: float,
    source: str,
    duration_s: float | None,
    query_count: int | None,
    sample_count: int | None,
) -> dict[str, Any]:
    """Return the energy columns of a run whose measured interval used `joules`.

    Args:
        joules: energy of the interval, from sensors or a meter.
        source: what measured it, for column `energy_source`.
        duration_s: length of the interval in seconds; columns whose divisor is unknown are None.
        query_count: queries of the run.
        sample_count: samples of the run.
    """
    return {
        "energy_j": joules,
        "power_mean_w": joules / duration_s if duration_s else None,
        "energy_per_query_j": joules / query_count if query_count else None,
        "energy_per_sample_j": joules / sample_count if sample_count else None,
        "energy_source": source,
        "energy_unavailable": None,
    }


def select_sensors(
    sources: Sequence[EnergySource], known: dict[str, float]
) -> tuple[tuple[EnergySource, ...], str]:
    """Return the sensors that make up the official figure, and the scope that it covers.

    MLPerf measures the whole device, so a sensor of scope `board` comes first. Next is the battery
    that the device runs from. Others cover less than the whole: a computer module without its
    board, the SoC with its memory, and last the sum of processors and memory.
    """
    usable = [source for source in sources if source.name in known]
    for scope in ("board", "battery", "module", "soc"):
        found = next((source for source in usable if source.scope == scope), None)
        if found is not None:
            return (found,), scope
    parts = tuple(source for source in usable if source.scope in ("cpu", "memory", "gpu"))
    scopes = dict.fromkeys(source.scope for source in parts)
    return parts, ", ".join(scopes)


def joules(source: EnergySource, start_ns: int, end_ns: int) -> float:
    """Return the joules that one sensor measured in the interval.

    Raises:
        NoFigure: the sensor has no reliable figure.
    """
    times, values = source.times_ns, source.values
    if len(times) < 2:
        raise NoFigure("it returned no readings")
    if end_ns <= start_ns:
        raise NoFigure("the measured interval is unknown")
    if times[0] > start_ns + SLACK_NS or times[-1] < end_ns - SLACK_NS:
        raise NoFigure("its readings do not cover the measured interval")
    first = max(0, bisect_right(times, start_ns) - 1)
    last = min(len(times), bisect_left(times, end_ns) + 1)
    times, values = times[first:last], values[first:last]
    gap_ns = max((b - a for a, b in itertools.pairwise(times)), default=0)
    if gap_ns > LONGEST_GAP_NS:
        raise NoFigure(f"it returned no reading for {gap_ns / 1e9:.1f} s")
    if source.kind == COUNTER:
        total = _difference(times, _unwrapped(values, source.wraps_at), start_ns, end_ns)
    else:
        total = _integral(times, values, start_ns, end_ns)
    found = total * source.unit
    if not 0 <= found <= _MOST_J:
        raise NoFigure("its figure is impossible")
    return found


def _unwrapped(values: Sequence[int], wraps_at: int | None) -> list[int]:
    """Unwrap a counter that restarts at 0 after `wraps_at`, its highest value."""
    found: list[int] = []
    added = 0
    for before, value in zip((values[0], *values), values, strict=False):
        if value < before:
            if wraps_at is None or before > wraps_at:
                raise NoFigure("its counter decreased")
            added += wraps_at
        found.append(value + added)
    return found


def _difference(times: Sequence[int], values: Sequence[int], start_ns: int, end_ns: int) -> float:
    # Differences from the first value keep large counters exact.
    grown = [value - values[0] for value in values]
    return _at(times, grown, end_ns) - _at(times, grown, start_ns)


def _integral(times: Sequence[int], values: Sequence[int], start_ns: int, end_ns: int) -> float:
    inner = [(t, float(v)) for t, v in zip(times, values, strict=True) if start_ns < t < end_ns]
    points = [
        (start_ns, _at(times, values, start_ns, held=True)),
        *inner,
        (end_ns, _at(times, values, end_ns, held=True)),
    ]
    return sum(
        (b_ns - a_ns) / 1e9 * (a + b) / 2 for (a_ns, a), (b_ns, b) in itertools.pairwise(points)
    )


def _at(times: Sequence[int], values: Sequence[int], at_ns: int, *, held: bool = False) -> float:
    """Return the value at a time, linearly interpolated between its neighbors.

    Outside the readings, the first or last segment is extrapolated; with `held`, the first or last
    value is returned.
    """
    if len(times) < 2:
        return float(values[0])
    if held:
        at_ns = min(max(at_ns, times[0]), times[-1])
    right = min(max(bisect_left(times, at_ns), 1), len(times) - 1)
    t0, t1, v0, v1 = times[right - 1], times[right], values[right - 1], values[right]
    return v0 + (v1 - v0) * ((at_ns - t0) / (t1 - t0))


def _described(table: dict[str, Any]) -> _About:
    unit, wraps_at = table["unit"], table["wraps_at"]
    if isinstance(unit, bool) or not isinstance(unit, (int, float)) or not 0 < unit <= 1e3:
        raise ValueError("unit")
    if wraps_at is not None and (type(wraps_at) is not int or not 0 < wraps_at < _MOST_READING):
        raise ValueError("wraps_at")
    kind = table["kind"]
    if kind not in (COUNTER, POWER):
        raise ValueError("kind")
    return (
        clean_text(str(table["name"]))[:100],
        clean_text(str(table["scope"]))[:20],
        kind,
        float(unit),
        wraps_at,
    )


def _unique_names(described: list[_About]) -> list[_About]:
    """Make the names of sensors unique by appending numbers."""
    seen: dict[str, int] = {}
    found = []
    for name, *rest in described:
        seen[name] = seen.get(name, 0) + 1
        found.append((name if seen[name] == 1 else f"{name} #{seen[name]}", *rest))
    return found  # type: ignore[return-value]


def _row(line: bytes, sources: int) -> list[Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(row, list) or len(row) != sources + 1 or type(row[0]) is not int:
        return None
    if not 0 <= row[0] < 1 << 62:
        return None
    fits = all(v is None or (type(v) is int and 0 <= v < _MOST_READING) for v in row[1:])
    return row if fits else None
