"""Energy of a run's measured interval from the log of an external power meter, with uncertainty.

The uncertainty is the sum of three bounds, not a standard deviation:

- alignment: the largest change of the energy when the interval is shifted by up to the uncertainty
  of the clock offset, and by the millisecond in which LoadGen marks the interval,
- sampling: the largest change when only every second reading is used,
- meter: the meter's accuracy, in percent of the energy. It is unknown unless the operator states
  it; then the sum is unknown, too.

The clocks are taken to run equally fast during the interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fleetmark_controller.evaluation import energy
from fleetmark_controller.evaluation.power_meter.alignment import (
    Alignment,
    RunTimes,
    align_by_marker,
)
from fleetmark_controller.evaluation.power_meter.binned_power import PowerBins
from fleetmark_controller.evaluation.power_meter.integral import CumulativeEnergy, EverySecond
from fleetmark_controller.evaluation.power_meter.options import CLOCK, MARKER, MeterOptions
from fleetmark_controller.evaluation.power_meter.reader import Floats, MeterLog
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_core.clock import iso
from fleetmark_core.serde import to_plain

LONGEST_GAP_S = energy.LONGEST_GAP_NS / 1e9
MARK_S = 0.001
"""LoadGen marks the measured interval in whole milliseconds."""
MOST_ALIGNMENT_SHARE = 0.25
"""The alignment is refused if it leaves more than this share of the energy uncertain."""
_LEAST_READINGS = 3
_NEGATIVE_SHARE = 0.01
"""Noise may make a reading negative, by at most this share of the mean power."""
_SHIFTS = 33


@dataclass(frozen=True)
class MeterEnergy:
    """The energy of a measured interval, as a meter saw it.

    Args:
        log_format: the format of the log, and `title` its description.
        rows: readings of the whole log; `readings` are those in the interval, after readings with
            the same time were averaged.
        longest_gap_s: the longest time without a reading in the interval.
        offset_s: the meter's clock minus the device's clock; of relative times, the device's time
            of the meter's time 0, negated.
        energy_j: the energy of the interval, and `mean_w` its mean power.
        peak_w: the highest reading in the interval.
        alignment_j: uncertainty by the alignment; so `sampling_j` and `meter_j`.
        idle_w: power of the idle device before and after the run; None if it was not found.
    """

    log_format: str
    title: str
    rows: int
    readings: int
    longest_gap_s: float
    alignment: str
    offset_s: float
    offset_uncertainty_s: float
    energy_j: float
    mean_w: float
    peak_w: float
    alignment_j: float
    sampling_j: float
    meter_j: float | None
    idle_w: float | None

    @property
    def uncertainty_j(self) -> float | None:
        """Return the sum of the bounds; None if the meter's accuracy is unknown."""
        if self.meter_j is None:
            return None
        return self.alignment_j + self.sampling_j + self.meter_j

    def as_document(self, duration_s: float) -> dict[str, Any]:
        """Return the figures as plain values, with those above the idle power if it is known."""
        plain: dict[str, Any] = to_plain(self)
        idle = self.idle_w
        return {
            **plain,
            "uncertainty_j": self.uncertainty_j,
            "energy_above_idle_j": None if idle is None else self.energy_j - idle * duration_s,
        }


class _Window:
    """Statistics of the readings in an interval; its shifts extend it on both sides."""

    def __init__(self, start_s: float, end_s: float, shift_s: float) -> None:
        self._start_s, self._end_s, self._shift_s = start_s, end_s, shift_s
        self._last_s: float | None = None
        self.first_s = self.last_s = 0.0
        self.readings = 0
        self.peak_w, self.lowest_w = -np.inf, np.inf
        self.gap_s = 0.0

    def add(self, times: Floats, power: Floats) -> None:
        if self._last_s is None:
            self._last_s = self.first_s = float(times[0])
        before = np.concatenate(([self._last_s], times[:-1]))
        low, high = self._start_s - self._shift_s, self._end_s + self._shift_s
        spans = (times > low) & (before < high)
        if spans.any():
            self.gap_s = max(self.gap_s, float((times - before)[spans].max()))
        near = (times >= low) & (times <= high)
        if near.any():
            self.lowest_w = min(self.lowest_w, float(power[near].min()))
        inside = (times >= self._start_s) & (times <= self._end_s)
        if inside.any():
            self.readings += int(inside.sum())
            self.peak_w = max(self.peak_w, float(power[inside].max()))
        self._last_s = self.last_s = float(times[-1])


def evaluate(path: str | Path, options: MeterOptions, run: RunTimes) -> MeterEnergy:
    """Return the energy of a run's measured interval from the log at `path`.

    Args:
        path: the log.
        options: options that passed their checks.
        run: the times of the run by the device's clock.

    Raises:
        IngestError: the log is not valid, does not cover the interval, or cannot be aligned.
    """
    log = MeterLog(Path(path), options)
    alignment = _aligned(log, options, run)
    shift_s = alignment.uncertainty_s + MARK_S + log.backward_s
    start_s, end_s = run.start_s + alignment.offset_s, run.end_s + alignment.offset_s
    shifts = np.linspace(-shift_s, shift_s, _SHIFTS)
    whole = CumulativeEnergy([start_s, end_s, *(start_s + shifts), *(end_s + shifts)])
    halves = [CumulativeEnergy([start_s, end_s]) for _ in range(2)]
    feeds = [EverySecond(half, phase) for phase, half in enumerate(halves)]
    window = _Window(start_s, end_s, shift_s)
    for times, power in log.chunks():
        whole.add(times, power)
        for feed in feeds:
            feed.add(times, power)
        window.add(times, power)
    for feed in feeds:
        feed.finish()
    joules = whole.between(start_s, end_s)
    shifted = [whole.between(start_s + shift, end_s + shift) for shift in shifts]
    _check_window(window, log, start_s, end_s, shift_s, [joules, *shifted])
    alignment_j = max(abs(value - joules) for value in shifted)
    if joules <= 0 or window.lowest_w < -_NEGATIVE_SHARE * joules / run.duration_s:
        raise IngestError(
            f"has negative power in the measured interval: {window.lowest_w:.4g} W at the least;"
            " check the polarity of the meter"
        )
    if alignment_j > MOST_ALIGNMENT_SHARE * joules:
        raise IngestError(
            f"is aligned within ±{shift_s:.3g} s only, which leaves ±{alignment_j:.3g} J of"
            f" {joules:.3g} J uncertain (limit {MOST_ALIGNMENT_SHARE:.0%}); measure longer, or"
            " give a more exact --clock-offset"
        )
    accuracy = options.accuracy_percent
    return MeterEnergy(
        log_format=log.layout.log_format,
        title=log.layout.title,
        rows=log.rows,
        readings=window.readings,
        longest_gap_s=window.gap_s,
        alignment=alignment.method,
        offset_s=alignment.offset_s,
        offset_uncertainty_s=alignment.uncertainty_s,
        energy_j=joules,
        mean_w=joules / run.duration_s,
        peak_w=float(window.peak_w),
        alignment_j=alignment_j,
        sampling_j=max(abs(half.between(start_s, end_s) - joules) for half in halves),
        meter_j=None if accuracy is None else joules * accuracy / 100,
        idle_w=alignment.idle_w,
    )


def _aligned(log: MeterLog, options: MeterOptions, run: RunTimes) -> Alignment:
    offset, uncertainty = options.clock_offset_s, options.clock_uncertainty_s
    known = None if offset is None or uncertainty is None else (offset, uncertainty)
    if options.method == CLOCK and known is not None:
        if not log.is_absolute:
            raise IngestError(
                "has relative times, so that a clock offset does not place it; use --align marker,"
                " or give the time of its start with --log-start"
            )
        return Alignment(CLOCK, *known)
    if options.method != MARKER:
        raise IngestError(
            "cannot be placed in time: give the offset of the meter's clock with --clock-offset"
            " S±S, or use --align marker"
        )
    collected = PowerBins()
    for times, power in log.chunks():
        collected.add(times, power)
    _check_rate(log)
    bins = collected.result()
    if bins is None:
        raise IngestError("has fewer than two readings")
    if bins.longest_gap_s > LONGEST_GAP_S:
        raise IngestError(
            f"has no reading for {bins.longest_gap_s:.3g} s (limit {LONGEST_GAP_S:g} s); --align"
            " marker needs a log without gaps"
        )
    return align_by_marker(bins, run, known if log.is_absolute else None)


def _check_rate(log: MeterLog) -> None:
    least, span_s = log.layout.least_rate_hz, log.last_s - log.first_s
    if least and log.rows and span_s > 0 and log.rows / span_s < least:
        raise IngestError(
            f"has {log.rows / span_s:.3g} readings per second if its times are seconds, too few for"
            " this meter; state their unit with --time-format relative_s or relative_ms"
        )


def _check_window(
    window: _Window,
    log: MeterLog,
    start_s: float,
    end_s: float,
    shift_s: float,
    energies: list[float],
) -> None:
    _check_rate(log)
    if not np.isfinite(energies).all():
        raise IngestError(
            f"does not cover the measured interval with its uncertainty of ±{shift_s:.3g} s:"
            f" {_shown(start_s, log)} to {_shown(end_s, log)} by the meter's clock; its readings"
            f" range from {_shown(window.first_s, log)} to {_shown(window.last_s, log)}"
        )
    if window.gap_s > LONGEST_GAP_S:
        raise IngestError(
            f"has no reading for {window.gap_s:.3g} s in the measured interval (limit"
            f" {LONGEST_GAP_S:g} s)"
        )
    if window.readings < _LEAST_READINGS:
        raise IngestError(
            f"has {window.readings} readings in the measured interval; at least {_LEAST_READINGS}"
            " are needed"
        )


def _shown(at_s: float, log: MeterLog) -> str:
    if log.is_absolute and 0 <= at_s < 253_402_300_800:
        return iso(round(at_s * 1e9))
    return f"{at_s:.3f} s"
