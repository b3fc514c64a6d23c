"""Read a log of PTDaemon, the program that MLPerf measures power with. Pure.

`spl.txt`, as written by the power server of MLCommons' power-dev, has one line per second:

    Time,11-23-2026 20:53:04.371,Watts,22.950000,Volts,228.57,Amps,0.206430,PF,0.486,Mark,…

The time is month, day, year in UTC, as the submission checker reads it; logs of the power server's
first years have the day first. The figure is that of the checker (tools/submission,
get_power_metric): the mean of the positive samples between LoadGen's `power_begin` and `power_end`,
multiplied by the length of that interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

from fleetmark_controller.loadgen.errors import IngestError

MAX_BYTES = 64 << 20
_MOST_W = 1e7
_MONTH_FIRST, _DAY_FIRST = "%m-%d-%Y %H:%M:%S.%f", "%d-%m-%Y %H:%M:%S.%f"


@dataclass(frozen=True)
class Power:
    """The analyzer's measurement of an interval."""

    mean_w: float
    energy_j: float
    samples: int


def is_log(head: bytes) -> bool:
    """Return whether one of the first lines is a line of PTDaemon."""
    return any(
        line.startswith(b"Time,") and line.split(b",")[2:3] == [b"Watts"]
        for line in head.splitlines()
    )


def evaluate(data: bytes, started_unix_ns: int, duration_s: float, ahead_ns: int = 0) -> Power:
    """Return the power of a measured interval.

    `ahead_ns` is the power server's clock minus the device's clock.

    Raises:
        IngestError: it is not such a log, or has no sample in the interval.
    """
    begin_s = (started_unix_ns + ahead_ns) / 1e9
    end_s = begin_s + duration_s
    spans: list[tuple[float, float]] = []
    for layout in (_MONTH_FIRST, _DAY_FIRST):
        samples = list(_samples(data, layout))
        inside = [watts for at_s, watts in samples if begin_s < at_s < end_s and watts > 0]
        if inside:
            mean = math.fsum(inside) / len(inside)
            return Power(mean, mean * duration_s, len(inside))
        if samples:
            spans.append((samples[0][0], samples[-1][0]))
    if not spans:
        raise IngestError("contains no PTDaemon line (Time,…,Watts,…)")
    first, last = spans[0]
    raise IngestError(
        f"has no sample in the measured interval ({_shown(begin_s)} to {_shown(end_s)});"
        f" its samples range from {_shown(first)} to {_shown(last)}"
    )


def _samples(data: bytes, layout: str) -> Iterator[tuple[float, float]]:
    for line in data.decode(errors="replace").splitlines():
        words = line.strip().split(",")
        if len(words) < 4 or words[0] != "Time" or words[2] != "Watts":
            continue
        try:
            at = datetime.strptime(words[1], layout).replace(tzinfo=timezone.utc).timestamp()
            watts = float(words[3])
        except (ValueError, OverflowError):
            continue
        if math.isfinite(watts) and abs(watts) < _MOST_W:
            yield at, watts


def _shown(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, timezone.utc).isoformat(" ", "milliseconds")[:-6]
