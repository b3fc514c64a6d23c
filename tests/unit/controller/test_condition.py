"""The verdict on the device's condition: each disturbance by its readings, and its threshold."""

from __future__ import annotations

import itertools
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_catalog.load.kind_schemas import BODIES
from fleetmark_controller.evaluation import condition, confidence, telemetry
from fleetmark_controller.evaluation.thresholds import Thresholds
from fleetmark_core.repeat_bounds import RepeatBounds, bounds_of
from tests.support import evaluation_cases as cases

LIMIT = Thresholds()
MODES = ("governor=performance, power=mains", "governor=performance, power=battery")
CALM: dict[str, list[float]] = {
    "foreign_cpu_percent": [1.0] * 10,
    "temperature_c": [50.0] * 10,
    "frequency_hz": [1.8e9] * 10,
    "swap_bytes": [0.0] * 10,
    "swapped_bytes": [4096.0] * 10,
    "throttled": [0.0] * 10,
    "power_mode": [0.0] * 10,
    "quota_periods": [10.0] * 10,
    "quota_throttled": [0.0] * 10,
}
DISTURBANCES: dict[str, dict[str, list[float]]] = {
    "competing_load": {"foreign_cpu_percent": [90.0] * 10},
    "hot": {"temperature_c": [50.0] * 9 + [85.0]},
    "throttled": {"throttled": [0.0] * 9 + [4.0]},
    "frequency_drift": {"frequency_hz": [1.8e9] * 9 + [0.6e9]},
    "swap": {"swapped_bytes": [4096.0] * 9 + [4096.0 + (2 << 20)]},
    "power_mode_change": {"power_mode": [0.0] * 5 + [1.0] * 5},
    "cpu_quota": {"quota_periods": [43.8] * 10, "quota_throttled": [34.8] * 10},
}


def evaluated(start_c: float | None = 45.0, **columns: list[float]) -> list[dict[str, Any]]:
    table = {**CALM, **columns}
    seen = telemetry.Telemetry({name: list(values) for name, values in table.items()})
    return condition.disturbances(seen, LIMIT, start_c=start_c, power_modes=MODES)


def codes(found: list[dict[str, Any]]) -> set[str]:
    return {reason["code"] for reason in found}


def test_a_calm_device_is_good() -> None:
    assert evaluated() == []
    assert condition.verdict([], checked=True) == "good"
    assert condition.verdict([], checked=False) == "unchecked"


def test_every_combination_of_disturbances_names_just_these() -> None:
    """All 256: none hides another, none is named without cause."""
    for size in range(len(DISTURBANCES) + 1):
        for chosen in itertools.combinations(DISTURBANCES, size):
            columns: dict[str, list[float]] = {}
            for name in chosen:
                columns |= DISTURBANCES[name]
            assert codes(evaluated(**columns)) == set(chosen)
            assert codes(evaluated(start_c=70.0, **columns)) == {*chosen, "warm_start"}


def test_a_reason_has_its_figure_and_its_limit() -> None:
    (found,) = evaluated(**DISTURBANCES["frequency_drift"])
    assert found == {
        "code": "frequency_drift",
        "text": "the CPU clock fell from 1800 to 600 MHz",
        "value": 66.7,
        "limit": 10.0,
    }
    (found,) = evaluated(start_c=71.0)
    assert (found["value"], found["limit"]) == (71.0, LIMIT.start_temperature_c)
    (found,) = evaluated(**DISTURBANCES["power_mode_change"])
    assert found["text"] == "the power mode changed: power=mains became power=battery"
    (found,) = evaluated(**DISTURBANCES["cpu_quota"])
    assert found["text"] == "the CPU quota was used up in 348 of 438 periods"
    assert (found["value"], found["limit"]) == (pytest.approx(348), 0.0)
    assert set(DISTURBANCES) | {"warm_start", "interval_wide"} <= set(condition.CODES)


@pytest.mark.parametrize(("bits", "words"), condition.THROTTLES.items())
def test_throttling_is_reported_in_words(bits: int, words: str) -> None:
    (found,) = evaluated(throttled=[0.0, float(bits)])
    assert found["text"] == f"the device throttled: {words}"
    (found,) = evaluated(throttled=[3.0, 4.0])
    assert "under-voltage, CPU clock capped, throttled" in found["text"]
    assert found["value"] == 7
    (found,) = evaluated(throttled=[1024.0])
    assert found["text"] == "the device reported throttling"


@pytest.mark.parametrize(
    ("column", "below", "above"),
    [
        ("foreign_cpu_percent", [20.0] * 10, [20.5] * 10),
        ("foreign_cpu_percent", [0.0] * 10 + [81.0], [0.0] * 9 + [81.0]),
        ("temperature_c", [79.9], [80.0]),
        ("frequency_hz", [1000.0, 900.0], [1000.0, 899.0]),
        ("swapped_bytes", [0.0, 1048576.0], [0.0, 1048577.0]),
        ("swap_bytes", [0.0, 1048576.0], [0.0, 1048577.0]),
        ("swap_bytes", [1e9, 0.0], [0.0, 1e9]),
        ("quota_throttled", [0.0, 0.0], [0.0, 1.0]),
    ],
)
def test_thresholds(column: str, below: list[float], above: list[float]) -> None:
    nothing: dict[str, list[float]] = {name: [] for name in CALM}
    assert evaluated(**{**nothing, column: below}) == []
    assert len(evaluated(**{**nothing, column: above})) == 1


def test_the_start_is_evaluated_by_its_own_threshold() -> None:
    assert evaluated(start_c=LIMIT.start_temperature_c) == []
    assert evaluated(start_c=None) == []
    assert codes(evaluated(start_c=LIMIT.start_temperature_c + 0.1)) == {"warm_start"}


@given(
    st.dictionaries(
        st.sampled_from(sorted(CALM)),
        st.lists(st.one_of(st.none(), st.floats(), st.integers(), st.text(max_size=2)), max_size=6),
    ),
    st.lists(st.text(max_size=12), max_size=3),
)
def test_any_device_report_gives_a_known_condition(
    columns: dict[str, list[Any]], modes: list[str]
) -> None:
    length = max(map(len, columns.values()), default=0)
    rows = [
        [column[n] if n < len(column) else None for column in columns.values()]
        for n in range(length)
    ]
    seen = telemetry.read(list(columns), rows)
    for found in condition.disturbances(seen, LIMIT, start_c=None, power_modes=modes):
        assert found["code"] in condition.CODES
        assert found["text"]


def test_a_setting_that_a_stable_run_did_not_get_is_named() -> None:
    text = "nvpmodel: the power mode may only be changed by root; it is 15W"
    (found,) = condition.refused_settings({"refused": [text], "not_set": ["governor: no cpufreq"]})
    assert found == {"code": "setting_refused", "text": text, "value": None, "limit": None}
    for claim in ({}, {"refused": None}, {"refused": "x"}, {"not_set": ["x"]}):
        assert condition.refused_settings(claim) == []
    many = condition.refused_settings({"refused": ["\x1b[1m" + "x" * 10**6, 7, None, {}] * 100})
    assert len(many) == 16
    assert all(len(one["text"]) < 1000 and one["text"].isprintable() for one in many)


# Only what was read while it measured.


def test_readings_of_one_moment_after_the_end_do_not_count() -> None:
    """Clock and power mode of a device that idles again say nothing of the run."""
    columns = {
        "elapsed_ms": [0.0, 500.0, 1000.0, 1500.0],
        "frequency_hz": [1e9, 1e9, 1e9, 1e8],
        "foreign_cpu_percent": [0.0, 0.0, 0.0, 99.0],
        "quota_throttled": [0.0, 0.0, 0.0, 3.0],
    }
    seen = telemetry.Telemetry({name: list(column) for name, column in columns.items()})
    during = seen.during(0, 1200)
    assert during.readings("frequency_hz") == [1e9, 1e9, 1e9]
    assert during.readings("foreign_cpu_percent") == [0.0, 0.0, 0.0, 99.0]
    assert during.readings("quota_throttled") == [0.0, 0.0, 0.0, 3.0]
    # In a run between two readings the one after it must do.
    assert seen.during(1100, 1200).readings("frequency_hz") == [1e8]


def test_readings_that_cover_time_before_the_start_do_not_count() -> None:
    """While a job loads its model, its CPU quota is often used up."""
    columns = {
        "elapsed_ms": [0.0, 1000.0, 2000.0, 3000.0, 4000.0],
        "frequency_hz": [1e9, 1e9, 2e9, 2.1e9, 4e9],
        "cpu_percent": [10.0, 20.0, 30.0, 40.0, 50.0],
        "foreign_cpu_percent": [0.0, 99.0, 98.0, 1.0, 2.0],
        "swapped_bytes": [0.0, 5.0, 6.0, 7.0, 8.0],
        "quota_throttled": [0.0, 9.0, 8.0, 0.0, 0.0],
        "quota_periods": [0.0, 10.0, 10.0, 10.0, 10.0],
    }
    seen = telemetry.Telemetry({name: list(column) for name, column in columns.items()})
    during = seen.during(1500, 3500)
    assert during.readings("frequency_hz") == [2e9, 2.1e9], "it is of that moment"
    assert during.readings("cpu_percent") == [40.0, 50.0]
    assert during.readings("foreign_cpu_percent") == [1.0, 2.0]
    assert during.readings("quota_throttled") == [0.0, 0.0]
    assert during.readings("quota_periods") == [10.0, 10.0]
    assert during.readings("swapped_bytes") == [6.0, 7.0, 8.0], "a level, not a difference"
    assert condition.disturbances(during, LIMIT) == []
    # A reading that covers the measurement from its first moment counts.
    assert seen.during(1000, 3500).readings("quota_throttled") == [8.0, 0.0, 0.0]
    # Nothing precedes the first reading: the agent read its counters when the job started.
    assert seen.during(-500, 3500).readings("quota_throttled") == [0.0, 9.0, 8.0, 0.0, 0.0]
    assert seen.during(0, 500).readings("quota_throttled") == [0.0, 9.0]
    # Without any other reading, doubt is better than a measurement that was not watched.
    assert seen.during(1900, 1950).readings("quota_throttled") == [8.0]


def test_readings_that_cover_only_time_after_the_end_do_not_count() -> None:
    columns = {"elapsed_ms": [0.0, 500.0, 1000.0, 1500.0], "quota_throttled": [0.0, 1.0, 2.0, 3.0]}
    seen = telemetry.Telemetry({name: list(column) for name, column in columns.items()})
    assert seen.during(0, 600).readings("quota_throttled") == [0.0, 1.0, 2.0]


def test_the_first_reading_is_compared_with_the_last_known_time() -> None:
    columns: dict[str, list[float | None]] = {
        "elapsed_ms": [1000.0, None, 2000.0, 3000.0],
        "quota_throttled": [1.0, 2.0, 3.0, 4.0],
    }
    seen = telemetry.Telemetry(columns)
    assert seen.during(1500, 3000).readings("quota_throttled") == [4.0]


@given(
    st.lists(st.integers(0, 9000), min_size=1, max_size=12, unique=True).map(sorted),
    st.integers(-1000, 9000),
    st.integers(0, 5000),
)
def test_any_interval(times: list[int], start_ms: int, length_ms: int) -> None:
    """Each difference that counts is named by the time of its reading."""
    end_ms = start_ms + length_ms
    known = [float(at) for at in times]
    seen = telemetry.Telemetry(
        {name: list(known) for name in ("elapsed_ms", "frequency_hz", "quota_throttled")}
    )
    during = seen.during(start_ms, end_ms)
    inside = [at for at in known if start_ms <= at <= end_ms]
    if inside:
        assert during.readings("frequency_hz") == inside
        counted = during.readings("quota_throttled")
        before = dict(zip(known[1:], known, strict=False))
        assert counted, "no measurement is left without a reading"
        assert len(during.readings("elapsed_ms")) == len(inside)
        if len(counted) > 1:
            assert all(start_ms <= before.get(at, at) <= end_ms for at in counted)


# Thresholds come from the component.


def test_a_component_may_set_every_threshold_and_no_other_word() -> None:
    known = {field.name for kind in (Thresholds, RepeatBounds) for field in fields(kind)}
    assert set(BODIES["benchmark"]["properties"]["condition"]["properties"]) == known
    lock = {"job": {"benchmark": {"condition": {"start_temperature_c": 40}}}}
    facts = cases.evaluated("singlestream_performance", lock=lock)
    assert [reason["code"] for reason in facts.condition_reasons] == ["warm_start"]


@given(st.one_of(st.none(), st.integers(), st.dictionaries(st.text(), st.floats()), st.text()))
def test_bounds_of_nonsense_are_the_usual_ones(value: Any) -> None:
    assert bounds_of({"condition": value}) == RepeatBounds()
    assert bounds_of(value) == RepeatBounds()


def test_bounds_are_whole_where_they_count() -> None:
    table = {"condition": {"most_runs": 4.0, "interval_percent": 2, "least_runs": True}}
    assert bounds_of(table) == RepeatBounds(most_runs=4, interval_percent=2.0)
    assert isinstance(bounds_of(table).most_runs, int)


# The interval within a run.


def test_the_interval_holds_what_it_promises() -> None:
    """Of independent runs' intervals about 95 % cover the truth (here at least 90 of 100)."""
    random = np.random.default_rng(1)
    truth = np.quantile(random.exponential(1e6, 1_000_000), 0.9)
    covered = 0
    for _ in range(100):
        taken = random.exponential(1e6, 4000).astype("<i8")
        half = confidence.within_run(taken, "SingleStream")
        parts = [np.percentile(part, 90) for part in np.array_split(taken, confidence.BATCHES)]
        assert half is not None
        covered += abs(np.mean(parts) - truth) <= half / 100 * np.mean(parts)
    assert covered >= 90


def test_a_run_that_slows_down_is_not_known_well() -> None:
    steady = np.full(2000, 1_000_000, "<i8")
    assert confidence.within_run(steady, "SingleStream") == 0
    slower = np.linspace(1_000_000, 2_000_000, 2000).astype("<i8")
    half = confidence.within_run(slower, "SingleStream")
    assert half is not None and half > LIMIT.run_interval_percent
    (found,) = condition.interval(half, LIMIT)
    assert found["code"] == "interval_wide"
    assert condition.interval(None, LIMIT) == condition.interval(1.0, LIMIT) == []


@pytest.mark.parametrize(
    ("scenario", "count", "known"),
    [
        ("SingleStream", 599, False),
        ("SingleStream", 600, True),
        ("MultiStream", 8 * 2999, False),
        ("MultiStream", 8 * 3000, True),
        ("MultiStream", 8 * 3000 + 1, False),
        ("Server", 3000, True),
        ("Offline", 100_000, False),
        ("else", 100_000, False),
    ],
)
def test_where_an_interval_is_known(scenario: str, count: int, known: bool) -> None:
    samples = np.arange(1, count + 1, dtype="<i8")
    assert (confidence.within_run(samples, scenario) is not None) is known


def test_half_of_an_interval() -> None:
    # Mean 10, standard deviation 1, t(2) = 4.303: 4.303 / sqrt(3) = 2.484.
    assert confidence.half_percent([9, 10, 11]) == pytest.approx(24.84, abs=0.01)
    assert confidence.half_percent([5]) is confidence.half_percent([]) is None
    assert confidence.half_percent([-1, 1]) is None
