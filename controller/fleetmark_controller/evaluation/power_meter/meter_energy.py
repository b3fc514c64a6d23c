"""Energy of a run's measured interval from the log of an external power meter, with uncertainty.

The uncertainty is the sum of two bounds and an estimate, not a standard deviation:

- alignment, a bound: the largest change of the energy when the interval is shifted by up to the
  uncertainty of the clock offset, and by the millisecond in which LoadGen marks the interval,
- sampling, an estimate: the largest change when only every second reading is used. No log bounds
  the power between its readings: a load that repeats as often as the meter reads looks constant.
  So the estimate is unknown for logs with few readings, and the sum, too,
- meter, a bound: the meter's accuracy, in percent of the energy. It is unknown unless the operator
  states it; then the sum is unknown, too.

The clocks are taken to run equally fast during the interval.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
MOST_PERIOD_S = 0.15
"""Longest time without a reading for which the error of the sampling is estimated."""
LEAST_SAMPLED = 50
"""Fewest readings in the interval for which the error of the sampling is estimated."""
NEAR_S = 600.0
"""Largest difference of the clocks that a marker may find unless --clock-offset states more."""
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
        offset_uncertainty_s: largest error of `offset_s`, with the steps back of the meter's clock.
        alignment_j: uncertainty by the alignment, a bound.
        sampling_j: estimate of the error by the sampling; None with too few readings.
        meter_j: uncertainty by the meter, a bound; None if its accuracy is unknown.
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
    sampling_j: float | None
    meter_j: float | None
    idle_w: float | None

    @property
    def uncertainty_j(self) -> float | None:
        """Return the sum of the parts; None if one is unknown."""
        if self.meter_j is None or self.sampling_j is None:
            return None
        return self.alignment_j + self.sampling_j + self.meter_j

    @property
    def uncertainty_unavailable(self) -> str:
        """Return why the uncertainty is unknown; empty if it is known."""
        reasons = []
        if self.sampling_j is None:
            reasons.append(
                f"the power between readings is unknown: {self.readings} readings, at most"
                f" {self.longest_gap_s:.3g} s apart (needed: at least {LEAST_SAMPLED}, at most"
                f" {MOST_PERIOD_S:g} s apart)"
            )
        if self.meter_j is None:
            reasons.append("the meter's accuracy is unknown (--meter-accuracy)")
        return "; ".join(reasons)

    def as_document(self, duration_s: float) -> dict[str, Any]:
        """Return the figures as plain values, with those above the idle power if it is known."""
        plain: dict[str, Any] = to_plain(self)
        idle = self.idle_w
        return {
            **plain,
            "uncertainty_j": self.uncertainty_j,
            "uncertainty_unavailable": self.uncertainty_unavailable or None,
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
    # Readings after a step back have the time of the step, which is wrong by at most its length.
    offset_uncertainty_s = alignment.uncertainty_s + log.backward_s
    shift_s = offset_uncertainty_s + MARK_S
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
    sampling_j = None
    if window.gap_s <= MOST_PERIOD_S and window.readings >= LEAST_SAMPLED:
        sampling_j = max(abs(half.between(start_s, end_s) - joules) for half in halves)
    return MeterEnergy(
        log_format=log.layout.log_format,
        title=log.layout.title,
        rows=log.rows,
        readings=window.readings,
        longest_gap_s=window.gap_s,
        alignment=alignment.method,
        offset_s=alignment.offset_s,
        offset_uncertainty_s=offset_uncertainty_s,
        energy_j=joules,
        mean_w=joules / run.duration_s,
        peak_w=float(window.peak_w),
        alignment_j=alignment_j,
        sampling_j=sampling_j,
        meter_j=None if accuracy is None else joules * accuracy / 100,
        idle_w=alignment.idle_w,
    )


def _aligned(log: MeterLog, options: MeterOptions, run: RunTimes) -> Alignment:
    """Return the alignment; `log.backward_s` then has the largest step back of the log's clock."""
    offset, uncertainty = options.clock_offset_s, options.clock_uncertainty_s
    known = None if offset is None or uncertainty is None else (offset, uncertainty)
    if known is not None and not log.is_absolute:
        raise IngestError(
            f"has relative times, so that --clock-offset {known[0]:g}±{known[1]:g} does not place"
            " it; give the time of its start with --log-start, or leave out --clock-offset and use"
            " --align marker"
        )
    if options.method == CLOCK and known is not None:
        if log.layout.backward_s:
            for _ in log.chunks():  # finds the steps back of the clock
                pass
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
    prior = known
    if prior is None and log.is_absolute:
        _check_near(log, run)
        prior = 0.0, NEAR_S
    found = align_by_marker(bins, run, prior)
    # The step was found by times that may be wrong by a step back of the clock.
    return replace(found, uncertainty_s=found.uncertainty_s + log.backward_s)


def _check_near(log: MeterLog, run: RunTimes) -> None:
    """Refuse a log of another day, whose step of power is not that of the run."""
    away_s = max(log.first_s - run.job_end_s, run.job_start_s - log.last_s)
    if away_s <= NEAR_S:
        return
    away = f"{away_s / 3600:.1f} h" if away_s >= 3600 else f"{away_s / 60:.0f} min"
    raise IngestError(
        f"is {away} away from the run: its readings range from {_shown(log.first_s, log)} to"
        f" {_shown(log.last_s, log)}, the job from {iso(round(run.job_start_s * 1e9))} to"
        f" {iso(round(run.job_end_s * 1e9))} (limit {NEAR_S:g} s); use the log of this run, or"
        " state --clock-offset S+-S"
    )


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
