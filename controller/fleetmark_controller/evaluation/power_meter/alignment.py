"""The offset of a power meter's clock, found by the step of power that a run causes. Pure.

The power is high during the whole measured interval. It may be high before it, too: the job
prepares, and before the job the agent installs packages, lays out files and starts programs. It may
be high after it: the job writes its results, and the agent hashes and uploads them, for at most
`AFTER_JOB_S` after the job. So the stretch of high power begins at the interval's start or at any
time before, and ends in [interval end, job end + `AFTER_JOB_S`], by the device's clock. The clock
offsets for which both hold are an interval; its middle is the offset, and half its length the
uncertainty. Nothing is assumed about when the power rises before the interval.

1. The two levels: the position at which the mean over the length of the interval exceeds the means
   before the job and after it the most gives the level of the load and of the idle device.
2. The smoothed power is compared with the middle of the levels. The stretch above it must be as
   long as the interval at least, and as the job and the agent's work around it at most, with idle
   power on both sides.
   The agent's work before the job may add `BEFORE_JOB_S`: after longer work, the log is refused.
3. There must be exactly one such stretch, and no other position with a similar step.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fleetmark_controller.evaluation.power_meter.binned_power import BinnedPower
from fleetmark_controller.evaluation.power_meter.reader import Floats
from fleetmark_controller.loadgen.errors import IngestError

BEFORE_JOB_S = 5.0
"""The agent may prepare for so long before a job with the power of the load.

A longer preparation makes the stretch of high power too long to be found; it never moves the
offset, because no bound of the offset uses this figure.
"""
AFTER_JOB_S = 3.0
"""The agent may hash and upload files for so long after a job with the power of the load."""
FLANK_S = 2.0
"""Seconds of idle power that the log must have before the job and after it."""
_LEAST_CONTRAST = 6.0
"""Least step of power, in standard deviations of the smoothed idle power."""
_LEAST_STEP = 0.05
"""Least step of power, as a share of the idle power."""
_SIMILAR = 0.3
"""A second position is ambiguous if its step is at least this share of the largest one."""
_CLOSE_S = 0.25
"""A shorter dip does not end a stretch of high power."""


@dataclass(frozen=True)
class RunTimes:
    """Times of a run by the device's clock, in seconds since 1970."""

    job_start_s: float
    start_s: float
    end_s: float
    job_end_s: float

    @property
    def duration_s(self) -> float:
        """Return the length of the measured interval."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Alignment:
    """The meter's clock minus the device's clock, its largest error, and the idle power.

    `idle_w` is None if it was not measured.
    """

    method: str
    offset_s: float
    uncertainty_s: float
    idle_w: float | None = None
    load_w: float | None = None


def align_by_marker(
    bins: BinnedPower, run: RunTimes, prior: tuple[float, float] | None = None
) -> Alignment:
    """Return the clock offset by which the step of power fits the run.

    Args:
        bins: the power of the whole log.
        run: the times of the run.
        prior: a known offset and its uncertainty in s, which limit the search; None if the
            times of the log are relative to an unknown moment.

    Raises:
        IngestError: there is no clear step of power, or more than one.
    """
    if not run.job_start_s <= run.start_s < run.end_s <= run.job_end_s:
        raise IngestError(
            "cannot be aligned by a marker: the times of the job do not enclose the measured"
            " interval; use --clock-offset"
        )
    idle_w, load_w = _levels(bins, run, prior)
    smooth, window_s = _smoothed(bins, run, idle_w, load_w)
    edge_s = window_s / 2 + bins.bin_s + bins.longest_gap_s
    stretches = _stretches(smooth > (idle_w + load_w) / 2, bins, window_s)
    least_s = run.duration_s - 2 * edge_s
    most_s = run.job_end_s - run.job_start_s + BEFORE_JOB_S + AFTER_JOB_S + 2 * edge_s
    end_s = bins.start_s + bins.power.size * bins.bin_s
    found = []
    for rise_s, fall_s in stretches:
        if not least_s <= fall_s - rise_s <= most_s:
            continue
        if rise_s - FLANK_S < bins.start_s or fall_s + FLANK_S > end_s:
            continue
        low = max(rise_s - edge_s - run.start_s, fall_s - edge_s - run.job_end_s - AFTER_JOB_S)
        # The rise sets no upper bound: the agent works before the job, for a time that is unknown.
        high = fall_s + edge_s - run.end_s
        if prior is not None:
            low, high = max(low, prior[0] - prior[1]), min(high, prior[0] + prior[1])
        if low <= high:
            found.append((low, high, rise_s - bins.start_s))
    if not found:
        raise IngestError(
            f"has no clear step of power: no stretch above {(idle_w + load_w) / 2:.4g} W lasts"
            f" {max(least_s, 0):.4g} to {most_s:.4g} s, between {FLANK_S:g} s of idle power; record"
            f" the idle device before and after the run (for at least {BEFORE_JOB_S + FLANK_S:g}"
            f" and {AFTER_JOB_S + FLANK_S:g} s), run the benchmark once before so that it is"
            " installed, or use --clock-offset"
        )
    if len(found) > 1:
        places = ", ".join(f"{at_s:.1f}" for _, _, at_s in found[:5])
        raise IngestError(
            f"has {len(found)} steps of power that fit the run, {places} s after its start; use a"
            " log of this run only, or --clock-offset"
        )
    low, high, _ = found[0]
    return Alignment("marker", (low + high) / 2, (high - low) / 2, idle_w, load_w)


def _levels(
    bins: BinnedPower, run: RunTimes, prior: tuple[float, float] | None
) -> tuple[float, float]:
    """Return the power of the idle device and of the load."""
    size = bins.power.size
    length = max(1, round(run.duration_s / bins.bin_s))
    before = round((run.start_s - run.job_start_s + BEFORE_JOB_S) / bins.bin_s)
    after = round((run.job_end_s + AFTER_JOB_S - run.end_s) / bins.bin_s)
    flank = max(1, round(FLANK_S / bins.bin_s))
    first, last = before + flank, size - length - after - flank
    if last < first:
        raise IngestError(
            f"covers {size * bins.bin_s:.4g} s, but the job with {BEFORE_JOB_S + FLANK_S:g} s"
            f" before it and {AFTER_JOB_S + FLANK_S:g} s after it, which must have idle power,"
            f" takes {(length + before + after + 2 * flank) * bins.bin_s:.4g} s; record for"
            " longer, or use --clock-offset"
        )
    sums = np.concatenate(([0.0], np.cumsum(bins.power)))
    starts = np.arange(first, last + 1)
    if prior is not None:
        near = np.abs(bins.start_s + starts * bins.bin_s - run.start_s - prior[0])
        starts = starts[near <= prior[1] + bins.bin_s]
        if not starts.size:
            raise IngestError(
                f"does not cover the run at a clock offset of {prior[0]:g} ± {prior[1]:g} s, with"
                " idle power before and after it; state another --clock-offset S+-S"
            )
    load = _means(sums, starts, length)
    left = _means(sums, starts - before - flank, flank)
    right = _means(sums, starts + length + after, flank)
    step = load - np.maximum(left, right)
    best = int(np.argmax(step))
    idle_w, load_w = float(max(left[best], right[best])), float(load[best])
    if step[best] <= _LEAST_STEP * abs(idle_w) or step[best] <= 0:
        raise IngestError(
            f"has no clear step of power: the largest is from {idle_w:.4g} to {load_w:.4g} W; use"
            " --clock-offset"
        )
    apart = np.abs(starts - starts[best]) > length + before + after
    if apart.any() and float(step[apart].max()) >= _SIMILAR * step[best]:
        other = int(starts[apart][int(np.argmax(step[apart]))])
        raise IngestError(
            "has several steps of power that may be the run:"
            f" {starts[best] * bins.bin_s:.1f} s and {other * bins.bin_s:.1f} s after its start;"
            " use a log of this run only, or --clock-offset"
        )
    # The idle level is the mean of both sides; the limit of the step used the higher one.
    return float((left[best] + right[best]) / 2), load_w


def _means(sums: Floats, starts: np.ndarray[tuple[int], np.dtype[np.int64]], length: int) -> Floats:
    means: Floats = (sums[starts + length] - sums[starts]) / length
    return means


def _smoothed(
    bins: BinnedPower, run: RunTimes, idle_w: float, load_w: float
) -> tuple[Floats, float]:
    """Return the moving mean over the shortest window that makes the step clear, and its length."""
    most = max(1, int(min(0.5, run.duration_s / 4) / bins.bin_s))
    width = 1
    while True:
        smooth = _moving_mean(bins.power, width)
        low = smooth[smooth < (idle_w + load_w) / 2]
        # Robust: a short peak of an idle device is no noise.
        noise = 1.4826 * float(np.median(np.abs(low - np.median(low)))) if low.size else 0.0
        if load_w - idle_w >= _LEAST_CONTRAST * noise:
            return smooth, width * bins.bin_s
        if width >= most:
            raise IngestError(
                f"has no clear step of power: {idle_w:.4g} to {load_w:.4g} W with a noise of"
                f" {noise:.3g} W; use --clock-offset"
            )
        width = min(most, 2 * width + 1)


def _moving_mean(power: Floats, width: int) -> Floats:
    if width == 1:
        return power
    half = width // 2
    padded = np.concatenate((np.full(half, power[0]), power, np.full(width - half, power[-1])))
    sums = np.concatenate(([0.0], np.cumsum(padded)))
    means: Floats = (sums[width:] - sums[:-width])[: power.size] / width
    return means


def _stretches(
    is_high: np.ndarray[tuple[int], np.dtype[np.bool_]], bins: BinnedPower, window_s: float
) -> list[tuple[float, float]]:
    """Return begin and end of each stretch of high power, by the meter's clock."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_high, [False])).astype(np.int8)))
    starts, ends = edges[0::2], edges[1::2]
    if not starts.size:
        return []
    close = max(_CLOSE_S, 2 * window_s) / bins.bin_s
    joined = starts[1:] - ends[:-1] > close
    starts = starts[np.concatenate(([True], joined))]
    ends = ends[np.concatenate((joined, [True]))]
    return [
        (bins.start_s + float(start) * bins.bin_s, bins.start_s + float(end) * bins.bin_s)
        for start, end in zip(starts, ends, strict=True)
    ]
