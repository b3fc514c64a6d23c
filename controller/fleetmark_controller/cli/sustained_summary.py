"""Lines that show the series and the steady state of a sustained run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS, _MOST_ROWS = 60, 8
_SHOWN = (
    ("throughput_samples_per_s", "samples/s", 1.0),
    ("latency_mean_ms", "mean ms", 1.0),
    ("latency_p90_ms", "p90 ms", 1.0),
    ("temperature_c", "°C", 1.0),
    ("frequency_hz", "MHz", 1e-6),
)


def sustained_lines(document: object) -> Iterator[str]:
    """Yield the lines for the document of `evaluation.sustained`; none if it is not one."""
    if not isinstance(document, Mapping):
        return
    columns, rows = document.get("columns"), document.get("rows")
    steady = document.get("steady")
    if not isinstance(columns, list) or not isinstance(rows, list) or not rows:
        return
    steady = steady if isinstance(steady, Mapping) else {}
    yield f"Sustained  {_steady(steady)}"
    places = {str(name): place for place, name in enumerate(columns)}
    throughput = _column(rows, places.get("throughput_samples_per_s"))
    bars = _sparkline(throughput)
    if bars:
        known = [value for value in throughput if value is not None]
        yield f"           {bars}  {min(known):.4g} to {max(known):.4g} samples/s"
    yield "           " + "".join(f"{word:>11}" for word in ("until", *(s[1] for s in _SHOWN)))
    ends = _column(rows, places.get("end_s"))
    shown = [(_column(rows, places.get(name)), factor) for name, _, factor in _SHOWN]
    for group in _groups(len(rows), _MOST_ROWS):
        end = ends[group[-1]]
        cells = [f"{end:.0f} s" if end is not None else "-"]
        for values, factor in shown:
            mean = _mean([values[place] for place in group])
            cells.append("-" if mean is None else f"{mean * factor:.4g}")
        yield "           " + "".join(f"{cell:>11}" for cell in cells)


def _steady(steady: Mapping[str, Any]) -> str:
    rate, latency = steady.get("throughput_samples_per_s"), steady.get("latency_mean_ms")
    start_s = steady.get("start_s")
    if not isinstance(rate, (int, float)) or not isinstance(start_s, (int, float)):
        return f"no steady state: {steady.get('reason') or 'unknown reason'}"
    parts = [f"{rate:.4g} samples/s"]
    if isinstance(latency, (int, float)):
        parts.append(f"{latency:.4g} ms mean latency")
    return f"{', '.join(parts)} in the steady state, from {start_s:.0f} s on"


def _sparkline(values: Sequence[float | None]) -> str:
    """Return one bar per group of values, from 0 to the highest; empty without values."""
    means = [_mean([values[p] for p in group]) for group in _groups(len(values), _MOST_BARS)]
    highest = max((mean for mean in means if mean is not None), default=0.0)
    if highest <= 0:
        return ""
    last = len(_BARS) - 1
    return "".join(
        " " if mean is None else _BARS[max(0, round(last * mean / highest))] for mean in means
    )


def _groups(count: int, most: int) -> list[range]:
    """Return at most `most` groups of neighbors, of equal size except the last."""
    size = -(-count // most) or 1
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def _column(rows: list[Any], place: int | None) -> list[float | None]:
    found: list[float | None] = []
    for row in rows:
        value = None
        if place is not None and isinstance(row, list) and place < len(row):
            value = row[place]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            found.append(float(value))
        else:
            found.append(None)
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
