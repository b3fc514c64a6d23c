"""Energy from a meter's log: the integral is exact, its uncertainty holds, and gaps are refused."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.evaluation.power_meter.alignment import RunTimes
from fleetmark_controller.evaluation.power_meter.integral import CumulativeEnergy, EverySecond
from fleetmark_controller.evaluation.power_meter.meter_energy import MeterEnergy, evaluate
from fleetmark_controller.evaluation.power_meter.options import CLOCK, MARKER, MeterOptions
from fleetmark_controller.loadgen.errors import IngestError
from tests.support.meter_logs import NOON_S, Floats, csv_text, made_power, run_times

CLOCKS = MeterOptions(
    time_column="t",
    power_column="p",
    time_format="unix_s",
    align=CLOCK,
    clock_offset_s=0.0,
    clock_uncertainty_s=0.0,
)
RUN = run_times(2, 10, 0.5)
"""Measured from NOON_S + 2 to NOON_S + 12."""


def exact(times: Floats, power: Floats, start: float, end: float) -> float:
    """The integral of the linear interpolation, by all its corners."""
    corners = np.concatenate(([start], times[(times > start) & (times < end)], [end]))
    values = np.interp(corners, times, power)
    return float(np.sum(np.diff(corners) * (values[1:] + values[:-1]) / 2))


@given(
    steps=st.lists(st.floats(1e-3, 10), min_size=1, max_size=40),
    power=st.lists(st.floats(0, 1000), min_size=41, max_size=41),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    chunk=st.integers(1, 50),
)
def test_the_integral_of_piecewise_linear_power_is_exact(
    steps: list[float], power: list[float], ends: tuple[float, float], chunk: int
) -> None:
    times = np.concatenate(([0.0], np.cumsum(steps)))
    watts = np.asarray(power[: times.size])
    start, end = sorted(share * float(times[-1]) for share in ends)
    energy = CumulativeEnergy([start, end])
    for place in range(0, times.size, chunk):
        energy.add(times[place : place + chunk], watts[place : place + chunk])
    assert energy.between(start, end) == pytest.approx(
        exact(times, watts, start, end), rel=1e-9, abs=1e-9
    )


def test_outside_of_the_readings_there_is_no_integral() -> None:
    energy = CumulativeEnergy([0.0, 1.0, 2.0, 9.0])
    assert np.isnan(energy.between(0, 1))
    energy.add(np.array([1.0, 2.0]), np.array([5.0, 5.0]))
    energy.add(np.array([]), np.array([]))
    assert energy.between(1, 2) == 5
    assert np.isnan(energy.between(0, 2)) and np.isnan(energy.between(1, 9))


@given(size=st.integers(2, 40), phase=st.integers(0, 1), chunk=st.integers(1, 41))
def test_every_second_reading_with_the_first_and_the_last(
    size: int, phase: int, chunk: int
) -> None:
    rng = np.random.default_rng(size)
    times, power = np.arange(size, dtype=float), rng.uniform(0, 5, size)
    energy = CumulativeEnergy([0.0, size - 1.0])
    feed = EverySecond(energy, phase)
    for place in range(0, size, chunk):
        feed.add(times[place : place + chunk], power[place : place + chunk])
    feed.finish()
    kept = sorted({0, size - 1, *range(phase, size, 2)})
    assert energy.between(0, size - 1) == pytest.approx(
        exact(times[kept], power[kept], 0, size - 1)
    )


def log_of(folder: Path, times: Floats, power: Floats) -> Path:
    path = folder / "meter.csv"
    path.write_text("t,p\n" + "".join(f"{at:.6f},{watts!r}\n" for at, watts in
                                     zip(times.tolist(), power.tolist(), strict=True)))  # fmt: skip
    return path


def energy_of(
    folder: Path, times: Floats, power: Floats, options: MeterOptions = CLOCKS, run: RunTimes = RUN
) -> MeterEnergy:
    return evaluate(log_of(folder, times, power), options, run)


TIMES = NOON_S + np.arange(0, 20, 0.1)
FLAT = np.full(TIMES.size, 3.0)


def test_flat_power_is_certain(tmp_path: Path) -> None:
    found = energy_of(tmp_path, TIMES, FLAT, replace(CLOCKS, accuracy_percent=2.0))
    assert found.energy_j == pytest.approx(30)
    assert (found.mean_w, found.peak_w) == (pytest.approx(3), 3)
    assert found.alignment_j == pytest.approx(0, abs=1e-5)
    assert found.sampling_j == pytest.approx(0, abs=1e-5)
    assert (found.meter_j, found.idle_w) == (pytest.approx(0.6), None)
    assert found.uncertainty_j == pytest.approx(0.6, abs=1e-4)
    assert (found.rows, found.longest_gap_s) == (200, pytest.approx(0.1, abs=1e-5))
    assert 99 <= found.readings <= 102
    assert pickle.loads(pickle.dumps(found)) == found
    assert found.as_document(10)["energy_above_idle_j"] is None


def test_without_the_accuracy_of_the_meter_the_uncertainty_is_unknown(tmp_path: Path) -> None:
    found = energy_of(tmp_path, TIMES, FLAT)
    assert found.meter_j is found.uncertainty_j is None


def test_an_uncertain_clock_costs_the_step_of_power(tmp_path: Path) -> None:
    power = np.where((TIMES >= NOON_S + 2) & (TIMES <= NOON_S + 12), 5.0, 2.0)
    found = energy_of(tmp_path, TIMES, power, replace(CLOCKS, clock_uncertainty_s=0.5))
    assert found.energy_j == pytest.approx(50, abs=0.2)
    assert found.alignment_j == pytest.approx(0.5 * 3, abs=0.2)


def test_a_clock_offset_moves_the_interval(tmp_path: Path) -> None:
    power = (TIMES - NOON_S) * 1.0
    found = energy_of(tmp_path, TIMES + 100, power, replace(CLOCKS, clock_offset_s=100.0))
    assert found.energy_j == pytest.approx(70, rel=1e-6), "the mean of 2 and 12 W for 10 s"
    with pytest.raises(IngestError, match=r"does not cover .* by the meter's clock; its readings"):
        energy_of(tmp_path, TIMES + 100, power)


@given(offset=st.floats(-0.4, 0.4), seed=st.integers(0, 10**6))
def test_the_true_energy_is_within_alignment_and_sampling(
    tmp_path_factory: pytest.TempPathFactory, offset: float, seed: int
) -> None:
    """The meter's clock is wrong by `offset`, within the stated 0.4 s."""
    rng = np.random.default_rng(seed)
    dense = NOON_S + np.arange(0, 20, 0.01)
    levels = rng.uniform(1, 5, 21)
    truth = np.interp(dense, NOON_S + np.arange(21), levels)
    found = energy_of(
        tmp_path_factory.mktemp("meter"),
        dense[::5] + offset,
        truth[::5],
        replace(CLOCKS, clock_uncertainty_s=0.4),
    )
    true_j = exact(dense, truth, RUN.start_s, RUN.end_s)
    assert found.sampling_j is not None
    assert abs(found.energy_j - true_j) <= found.alignment_j + found.sampling_j + 1e-3


def test_energy_by_marker_is_that_of_the_truth(tmp_path: Path) -> None:
    aligned = 0
    for seed in range(40):
        made = made_power(seed)
        path = tmp_path / f"{seed}.csv"
        path.write_text(csv_text(made.times, made.power))
        try:
            found = evaluate(path, MeterOptions(align=MARKER), made.run)
        except IngestError:
            continue
        aligned += 1
        start, end = made.run.start_s + made.offset_s, made.run.end_s + made.offset_s
        true_j = exact(made.times, made.power, start, end)
        bound = found.alignment_j + (found.sampling_j or 0.0)
        assert abs(found.energy_j - true_j) <= bound + 1e-3 * true_j, seed
        assert found.idle_w is not None
        above = found.as_document(made.run.duration_s)["energy_above_idle_j"]
        assert 0 < above < found.energy_j
    assert aligned > 25


def cut(low: float, high: float) -> tuple[Floats, Floats]:
    """Without the readings of some seconds."""
    since = TIMES - NOON_S
    kept = (since < low) | (since > high)
    return TIMES[kept], FLAT[kept]


def test_a_gap_in_the_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"no reading for 3 s in the measured interval"):
        energy_of(tmp_path, *cut(5, 7.8))
    assert energy_of(tmp_path, *cut(5, 7)).longest_gap_s == pytest.approx(2.1, abs=0.1)
    assert energy_of(tmp_path, *cut(14, 18)).longest_gap_s == pytest.approx(0.1, abs=1e-5)


def test_a_marker_needs_a_log_without_gaps(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match="needs a log without gaps"):
        energy_of(tmp_path, *cut(14, 18), replace(CLOCKS, align=MARKER, clock_offset_s=None))


@pytest.mark.parametrize("watts", [-3.0, -0.1])
def test_negative_power_is_refused(tmp_path: Path, watts: float) -> None:
    power = FLAT.copy()
    power[60] = watts
    with pytest.raises(IngestError, match="negative power"):
        energy_of(tmp_path, TIMES, power)


def test_noise_below_zero_counts_as_it_is(tmp_path: Path) -> None:
    power = FLAT.copy()
    power[60] = -0.01
    assert energy_of(tmp_path, TIMES, power).energy_j == pytest.approx(30 - 0.301, abs=1e-3)


def test_too_few_readings_and_too_uncertain_a_clock(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match="has 2 readings in the measured interval"):
        energy_of(tmp_path, NOON_S + np.arange(12), np.ones(12), run=run_times(2.5, 2, 1))
    power = np.where((TIMES >= NOON_S + 8) & (TIMES <= NOON_S + 10), 5.0, 0.1)
    with pytest.raises(IngestError, match=r"leaves ±.* uncertain \(limit 25%\)"):
        energy_of(
            tmp_path, TIMES, power, replace(CLOCKS, clock_uncertainty_s=1.5), run_times(8, 2, 0.5)
        )


def test_how_the_clocks_are_aligned_must_be_stated(tmp_path: Path) -> None:
    bare = replace(CLOCKS, align="", clock_offset_s=None, clock_uncertainty_s=None)
    with pytest.raises(IngestError, match="cannot be placed in time"):
        energy_of(tmp_path, TIMES, FLAT, bare)
    with pytest.raises(IngestError, match=r"relative times.*--align marker"):
        energy_of(tmp_path, TIMES - NOON_S, FLAT, replace(CLOCKS, time_format="relative_s"))


@pytest.mark.parametrize("period_s", [1.0, 0.2])
def test_few_readings_give_no_uncertainty_but_a_reason(tmp_path: Path, period_s: float) -> None:
    """A load that repeats as often as the meter reads looks constant."""
    times = NOON_S + np.arange(0, 20, period_s)
    stated = replace(CLOCKS, accuracy_percent=1.0)
    found = energy_of(tmp_path, times, np.full(times.size, 10.0), stated)
    assert found.energy_j == pytest.approx(100)
    assert found.sampling_j is found.uncertainty_j is None
    document = found.as_document(10)
    assert document["uncertainty_j"] is None
    assert f"at most {period_s:g} s apart" in document["uncertainty_unavailable"]
    assert "--meter-accuracy" not in document["uncertainty_unavailable"]
    many = energy_of(tmp_path, TIMES, FLAT, stated).as_document(10)
    assert many["uncertainty_unavailable"] is None


def step_in(first_s: float) -> tuple[Floats, Floats]:
    """A log from `first_s` on with the power of RUN 9 s after its start, for its job."""
    times = first_s + np.arange(0, 32, 0.1)
    busy = (times >= first_s + 9) & (times < first_s + 9 + RUN.job_end_s - RUN.job_start_s)
    return times, np.where(busy, 6.0, 2.0)


MARKED = replace(CLOCKS, align=MARKER, clock_offset_s=None, clock_uncertainty_s=None)


@pytest.mark.parametrize(
    ("away_s", "words"),
    [(86_400.0, "24.0 h away"), (-86_400.0, "24.0 h away"), (7200.0, "2.0 h away"),
     (-1460.0, "24 min away")],
)  # fmt: skip
def test_a_marker_refuses_the_log_of_another_day(tmp_path: Path, away_s: float, words: str) -> None:
    log = step_in(RUN.job_start_s - 9 + away_s)
    with pytest.raises(IngestError, match="away from the run") as error:
        energy_of(tmp_path, *log, MARKED)
    assert words in error.value.what and "--clock-offset S+-S" in error.value.what
    stated = replace(MARKED, clock_offset_s=away_s, clock_uncertainty_s=30.0)
    assert energy_of(tmp_path, *log, stated).offset_s == pytest.approx(away_s, abs=2)


def test_a_marker_finds_clocks_that_differ_by_minutes(tmp_path: Path) -> None:
    found = energy_of(tmp_path, *step_in(RUN.job_start_s - 9 + 300), MARKED)
    assert abs(found.offset_s - 300) <= found.offset_uncertainty_s


def test_a_clock_offset_needs_a_start_of_relative_times(tmp_path: Path) -> None:
    times, power = step_in(0.0)
    stated = replace(MARKED, time_format="relative_s", clock_offset_s=0.0, clock_uncertainty_s=5.0)
    with pytest.raises(IngestError, match=r"--clock-offset 0±5 does not place it.*--log-start"):
        energy_of(tmp_path, times, power, stated)
    start = replace(stated, log_start_unix_ns=int((RUN.job_start_s - 9) * 1e9))
    assert abs(energy_of(tmp_path, times, power, start).offset_s) < 2


@pytest.mark.parametrize("options", [
    MeterOptions(clock_offset_s=0.0, clock_uncertainty_s=0.1), MeterOptions(align=MARKER),
])  # fmt: skip
def test_steps_back_of_the_clock_are_a_part_of_the_uncertainty(
    tmp_path: Path, options: MeterOptions
) -> None:
    times, power = step_in(RUN.job_start_s - 9)
    path = tmp_path / "fnirsi.txt"

    def evaluated(step_s: float) -> MeterEnergy:
        rows = [f"{at:.6f} 1 {watts}\n" for at, watts in zip(times, power, strict=True)]
        rows.insert(150, f"{times[149] - step_s:.6f} 1 {power[149]}\n")
        path.write_text("timestamp voltage_V current_A\n" + "".join(rows))
        return evaluate(path, options, RUN)

    still, stepped = evaluated(0.0), evaluated(0.08)
    assert stepped.offset_uncertainty_s >= still.offset_uncertainty_s + 0.0799
    assert stepped.alignment_j >= still.alignment_j


def test_milliseconds_read_as_seconds_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{n * 0.2:.1f},600.0,5.0,\n" for n in range(100_000))
    path = tmp_path / "monsoon.csv"
    path.write_text(f"Time(ms),Main(mA),Main Voltage(V),\n{rows}")
    with pytest.raises(IngestError, match="relative_ms"):
        evaluate(path, MeterOptions(align=MARKER), RUN)
    options = replace(CLOCKS, time_column="", power_column="", time_format="relative_ms",
                      log_start_unix_ns=int(NOON_S * 1e9))  # fmt: skip
    assert evaluate(path, options, RUN).energy_j == pytest.approx(30)
