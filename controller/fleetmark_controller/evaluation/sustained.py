"""Series of a sustained run: throughput, latency, temperature and clock over time, and its figures.

The measured interval is divided into equal windows. The completion times of samples follow from the
durations that the harness records, in the order of completion:

- SingleStream and MultiStream: one query follows another, so the times add up. LoadGen's own time
  between queries is spread evenly: the sum is scaled to the measured interval.
- Offline: a duration begins when all samples are issued, so it is the completion time itself.
- Server: the arrival of queries decides the throughput, not the device. There is no series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleetmark_controller.evaluation.steady_state import find_steady_state
from fleetmark_controller.evaluation.telemetry import Telemetry
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_core.resource_model import MULTISTREAM_SAMPLES

if TYPE_CHECKING:
    from fleetmark_controller.evaluation.samples import Samples

COLUMNS = (
    "end_s",
    "throughput_samples_per_s",
    "latency_mean_ms",
    "latency_p90_ms",
    "temperature_c",
    "frequency_hz",
)
SCENARIOS = ("SingleStream", "MultiStream", "Offline")
MOST_WINDOWS, LEAST_WINDOW_S = 120, 1.0
GAPS_PER_WINDOW = 5
"""Least number of completions in a window: fewer would show the size of a batch, not a change."""
MOST_EXCESS = 1.02
"""Most time that the samples may take, relative to the interval by LoadGen's clock."""
FORMAT = 1


@dataclass(frozen=True)
class SustainedRun:
    """The series of a sustained run, one row per window, and the figures of its steady state.

    The figures are None if there is no steady state; `reason` says why.
    """

    window_s: float
    rows: tuple[tuple[float | None, ...], ...]
    steady_start_s: float | None
    throughput_samples_per_s: float | None
    latency_mean_ms: float | None
    reason: str

    def as_document(self) -> dict[str, Any]:
        """Return the series as the JSON document that is stored as a file of the run."""
        return {
            "format": FORMAT,
            "window_s": self.window_s,
            "columns": list(COLUMNS),
            "rows": [list(row) for row in self.rows],
            "steady": {
                "start_s": self.steady_start_s,
                "throughput_samples_per_s": self.throughput_samples_per_s,
                "latency_mean_ms": self.latency_mean_ms,
                "reason": self.reason,
            },
        }


def sustained_run(
    scenario: str, samples: Samples, duration_s: float, observed: Telemetry, start_ms: float
) -> SustainedRun | None:
    """Return the series of a run; None in other scenarios and without samples.

    Raises:
        IngestError: the samples take longer than the measured interval.

    Args:
        scenario: LoadGen's scenario.
        samples: durations in nanoseconds, in the order of completion.
        duration_s: length of the measured interval.
        observed: telemetry of the attempt.
        start_ms: start of the measured interval in the time of `observed`.
    """
    import numpy as np

    if scenario not in SCENARIOS or not samples.size or duration_s <= 0:
        return None
    group = MULTISTREAM_SAMPLES if scenario == "MultiStream" else 1
    if scenario == "Offline":
        ends = samples / 1e9
        queries = ends
        # Batches end together: the time between them is the time of a call.
        batches = np.unique(ends)
        calls = np.diff(batches, prepend=0.0)
        latency_s = calls[np.searchsorted(batches, ends)]
    else:
        latency_s = samples / 1e9
        queries = latency_s[::group]
        ends = np.repeat(np.cumsum(queries), group)[: latency_s.size]
        ends = ends * (duration_s / ends[-1]) if ends[-1] > 0 else ends
        batches = ends[::group]
    longest_s = float(ends[-1]) if scenario == "Offline" else float(queries.sum())
    if longest_s > duration_s * MOST_EXCESS:
        raise IngestError(
            f"the samples take {longest_s:.1f} s, longer than the interval of {duration_s:.1f} s"
        )
    gap_s = duration_s / max(1, batches.size)
    window_s = max(duration_s / MOST_WINDOWS, LEAST_WINDOW_S, GAPS_PER_WINDOW * gap_s)
    count = max(1, int(duration_s / window_s))
    window_s = duration_s / count
    place = np.minimum((ends / window_s).astype(np.int64), count - 1)
    rows = []
    for number in range(count):
        inside = latency_s[place == number]
        begin_ms = start_ms + number * window_s * 1000
        rows.append(
            (
                round((number + 1) * window_s, 3),
                inside.size / window_s,
                float(inside.mean()) * 1000 if inside.size else None,
                float(np.quantile(inside, 0.9)) * 1000 if inside.size else None,
                _mean(observed, "temperature_c", begin_ms, window_s),
                _mean(observed, "frequency_hz", begin_ms, window_s),
            )
        )
    steady = find_steady_state([row[1] or 0.0 for row in rows])
    if steady.start is None:
        return SustainedRun(window_s, tuple(rows), None, None, None, steady.reason)
    settled = latency_s[place >= steady.start]
    return SustainedRun(
        window_s,
        tuple(rows),
        round(steady.start * window_s, 3),
        settled.size / ((count - steady.start) * window_s),
        float(settled.mean()) * 1000 if settled.size else None,
        "",
    )


def _mean(observed: Telemetry, column: str, begin_ms: float, window_s: float) -> float | None:
    """Return the mean of the readings in a window; None if there is no reading."""
    elapsed = observed.columns.get("elapsed_ms", [])
    found = [
        value
        for at, value in zip(elapsed, observed.columns.get(column, []), strict=False)
        if at is not None and value is not None and begin_ms <= at < begin_ms + window_s * 1000
    ]
    return sum(found) / len(found) if found else None
