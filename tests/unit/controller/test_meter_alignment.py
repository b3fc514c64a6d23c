"""The offset of a meter's clock is within its uncertainty, or the log is refused."""

from __future__ import annotations

import numpy as np
import pytest

from fleetmark_controller.evaluation.power_meter.alignment import (
    Alignment,
    RunTimes,
    align_by_marker,
)
from fleetmark_controller.evaluation.power_meter.binned_power import BinnedPower, PowerBins
from fleetmark_controller.loadgen.errors import IngestError
from tests.support.examples import examples
from tests.support.meter_logs import Floats, made_power, run_times

SEEDS = examples(500)


def binned(times: Floats, power: Floats) -> BinnedPower:
    bins = PowerBins()
    for start in range(0, times.size, 1000):
        bins.add(times[start : start + 1000], power[start : start + 1000])
    found = bins.result()
    assert found is not None
    return found


def aligned(times: Floats, power: Floats, run: RunTimes) -> Alignment:
    return align_by_marker(binned(times, power), run)


def test_the_true_offset_is_within_the_uncertainty() -> None:
    found, wrong = 0, []
    for seed in range(SEEDS):
        made = made_power(seed)
        try:
            alignment = aligned(made.times, made.power, made.run)
        except IngestError:
            continue
        found += 1
        if abs(alignment.offset_s - made.offset_s) > alignment.uncertainty_s:
            wrong.append(seed)
        assert alignment.uncertainty_s < made.run.duration_s, seed
    assert found > 0.8 * SEEDS, found
    assert len(wrong) <= 0.01 * found, wrong


def test_several_loads_like_the_run_are_ambiguous() -> None:
    for seed in range(100):
        made = made_power(seed, others=1)
        with pytest.raises(IngestError, match="step"):
            aligned(made.times, made.power, made.run)


def test_noise_without_a_run_is_refused() -> None:
    run = run_times(2, 10, 0.3)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        times = np.arange(6000) / 100
        drift = np.cumsum(rng.normal(0, 0.001, times.size)) if seed % 2 else 0.0
        with pytest.raises(IngestError, match="no clear step"):
            aligned(times, 3 + drift + rng.normal(0, 0.2, times.size), run)


def step_log(
    run: RunTimes, before_s: float, after_s: float, rate: float = 100
) -> tuple[Floats, Floats]:
    span = before_s + run.job_end_s - run.job_start_s + after_s
    times = np.arange(round(span * rate)) / rate
    at = times - before_s + run.job_start_s
    return times, np.where((at >= run.job_start_s) & (at < run.job_end_s), 5.0, 2.0)


def test_levels_and_offset_of_a_clean_step() -> None:
    run = run_times(0.1, 20, 0.1)
    found = aligned(*step_log(run, 9, 9), run)
    assert (found.idle_w, found.load_w) == (2.0, 5.0)
    assert found.offset_s == pytest.approx(9 - run.job_start_s, abs=0.1)
    assert found.uncertainty_s < 0.2, "a short preparation leaves little freedom"


def test_a_long_preparation_leaves_more_freedom() -> None:
    run = run_times(10, 20, 3)
    times, power = step_log(run, 9, 9)
    power[times >= 39] = 2.0  # the power falls at the end of the interval, 3 s before the job's
    found = aligned(times, power, run)
    assert 2.5 < found.uncertainty_s < 3.5
    assert abs(found.offset_s - (9 - run.job_start_s)) <= found.uncertainty_s


@pytest.mark.parametrize("busy_s", [0.6, 0.8, 3.0, 4.9])
@pytest.mark.parametrize("watts", [3.0, 4.5, 6.0])
def test_work_before_the_job_does_not_move_the_offset(busy_s: float, watts: float) -> None:
    run = run_times(0.3, 12, 0.1)
    times, power = step_log(run, 9, 9)
    power[(times >= 9 - busy_s) & (times < 9)] = watts
    found = aligned(times, power, run)
    assert abs(found.offset_s - (9 - run.job_start_s)) <= found.uncertainty_s


@pytest.mark.parametrize("busy_s", [6.0, 6.5, 7.5, 8.5])
def test_longer_work_before_the_job_is_refused_or_within_the_bound(busy_s: float) -> None:
    run = run_times(0.3, 12, 0.1)
    times, power = step_log(run, 20, 9)
    power[(times >= 20 - busy_s) & (times < 20)] = 5.0
    try:
        found = aligned(times, power, run)
    except IngestError as error:
        assert "no clear step" in error.what and "--clock-offset" in error.what
    else:
        assert abs(found.offset_s - (20 - run.job_start_s)) <= found.uncertainty_s


@pytest.mark.parametrize("busy_s", [0.9, 1.5, 2.9])
def test_work_after_the_job_does_not_move_the_offset(busy_s: float) -> None:
    run = run_times(0.1, 12, 0.1)
    times, power = step_log(run, 9, 9)
    end = 9 + run.job_end_s - run.job_start_s
    power[(times >= end) & (times < end + busy_s)] = 5.0
    found = aligned(times, power, run)
    assert abs(found.offset_s - (9 - run.job_start_s)) <= found.uncertainty_s


@pytest.mark.parametrize(("before_s", "after_s"), [(0.5, 9), (9, 0.5), (0, 0)])
def test_a_log_without_idle_power_on_both_sides(before_s: float, after_s: float) -> None:
    run = run_times(1, 10, 0.2)
    with pytest.raises(IngestError, match="idle power"):
        aligned(*step_log(run, before_s, after_s), run)


def test_a_known_offset_chooses_between_two_loads() -> None:
    run = run_times(0.5, 10, 0.2)
    times, power = step_log(run, 9, 9)
    twice = np.concatenate((power, power))
    bins = binned(np.arange(twice.size) / 100, twice)
    with pytest.raises(IngestError, match="several steps"):
        align_by_marker(bins, run)
    second = times.size / 100 + 9 - run.job_start_s
    found = align_by_marker(bins, run, (second + 1, 4.0))
    assert abs(found.offset_s - second) <= found.uncertainty_s
    with pytest.raises(IngestError, match="does not cover"):
        align_by_marker(bins, run, (second + 1000, 4.0))


def test_times_that_do_not_enclose_the_interval() -> None:
    run = run_times(-1, 10, 0.2)
    with pytest.raises(IngestError, match="enclose"):
        aligned(*step_log(run_times(1, 10, 0.2), 9, 9), run)


def test_bins_stay_bounded_and_keep_the_mean() -> None:
    bins = PowerBins()
    times = np.arange(1_000_000) * 0.01
    power = np.where(times < 5000, 1.0, 3.0)
    for start in range(0, times.size, 50_000):
        bins.add(times[start : start + 50_000], power[start : start + 50_000])
    found = bins.result()
    assert found is not None
    assert found.power.size <= 1 << 19
    assert found.power.mean() == pytest.approx(2.0, abs=1e-3)
    assert found.longest_gap_s == pytest.approx(0.01)
    assert PowerBins().result() is None
