"""Energy of the measured interval: integrals that are known, readings that do not suffice."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleetmark_controller.evaluation import energy
from fleetmark_controller.evaluation.energy import (
    EnergySource,
    NoFigure,
    PowerSeries,
    joules,
    of_interval,
)
from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.run_facts import RunFacts
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.loadgen_log import parse_detail
from tests.support import evaluation_cases as cases

S = 10**9
BEGAN = 1_795_000_000 * S


def source(readings: dict[float, int], kind: str = "power", **changes: Any) -> EnergySource:
    """A sensor with readings at seconds."""
    values: dict[str, Any] = {
        "name": "sensor",
        "scope": "board",
        "kind": kind,
        "unit": 1.0,
        "wraps_at": None,
        "times_ns": [round(at * S) for at in readings],
        "values": list(readings.values()),
    }
    return EnergySource(**{**values, **changes})


def between(found: EnergySource, start_s: float, end_s: float) -> float:
    return joules(found, round(start_s * S), round(end_s * S))


# Integrals that are known.


def test_constant_power() -> None:
    steady = source({n / 10: 7 for n in range(101)})
    assert between(steady, 1, 9) == pytest.approx(56)
    assert between(steady, 1.234, 5.678) == pytest.approx(7 * 4.444)


def test_a_ramp() -> None:
    ramp = source({float(n): 10 * n for n in range(11)})
    # The integral of 10 t from 2.5 to 7.5.
    assert between(ramp, 2.5, 7.5) == pytest.approx(5 * (7.5**2 - 2.5**2))


def test_only_the_measured_interval_counts() -> None:
    """Loading the model before and writing the results after take as much as they like."""
    peaks = {**{n / 2: 1000 for n in range(8)}, **{4 + n / 2: 3 for n in range(9)}, 8.5: 5000}
    assert between(source(peaks), 4, 8) == pytest.approx(12)


def test_a_counter() -> None:
    counter = source({float(n): 1_000_000 + 250 * n for n in range(11)}, "counter", unit=1e-3)
    assert between(counter, 2, 6) == pytest.approx(1.0)
    assert between(counter, 2.5, 6.1) == pytest.approx(0.9)


def test_a_counter_that_wraps() -> None:
    """As RAPL's does at max_energy_range_uj: here from 950 to 50, which is 100 more."""
    counter = source({0: 900, 1: 950, 2: 50, 3: 100}, "counter", wraps_at=1000)
    assert between(counter, 0, 3) == pytest.approx(200)
    twice = source({0: 0, 1: 700, 2: 400, 3: 100}, "counter", wraps_at=1000)
    assert between(twice, 0, 3) == pytest.approx(700 + 700 + 700)
    with pytest.raises(NoFigure, match="counter decreased"):
        between(source({0: 900, 1: 950, 2: 50}, "counter"), 0, 2)
    with pytest.raises(NoFigure, match="counter decreased"):
        between(source({0: 900, 1: 1950, 2: 50}, "counter", wraps_at=1000), 0, 2)


KNOTS = st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 10**9)), min_size=3, max_size=40)


def area(points: list[tuple[int, int]], start: int, end: int) -> float:
    """The exact integral of a broken line, milliseconds times units, piece by piece."""
    total = 0.0
    for (t0, v0), (t1, v1) in itertools.pairwise(points):
        left, right = max(t0, start), min(t1, end)
        if left < right:
            slope = (v1 - v0) / (t1 - t0)
            middle = v0 + slope * ((left + right) / 2 - t0)
            total += middle * (right - left)
    return total


@given(knots=KNOTS, cuts=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_power_on_a_broken_line_is_integrated_exactly(
    knots: list[tuple[int, int]], cuts: tuple[float, float]
) -> None:
    points, at = [], 0
    for step, value in knots:
        points.append((at, value))
        at += step
    length = points[-1][0]
    start, end = sorted(round(cut * length) for cut in cuts)
    assume(start < end)
    found = source({t / 1000: v for t, v in points}, unit=1e-6)
    expected = area(points, start, end) / 1000 * 1e-6
    assert between(found, start / 1000, end / 1000) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(
    steps=st.lists(st.integers(0, 999), min_size=2, max_size=50),
    first=st.integers(0, 999),
    cut=st.data(),
)
def test_a_counter_loses_nothing_however_often_it_wraps(
    steps: list[int], first: int, cut: st.DataObject
) -> None:
    true = [first]
    for step in steps:
        true.append(true[-1] + step)
    shown = {float(n): value % 1000 for n, value in enumerate(true)}
    found = source(shown, "counter", wraps_at=1000)
    start = cut.draw(st.integers(0, len(steps) - 1))
    end = cut.draw(st.integers(start + 1, len(steps)))
    assert between(found, start, end) == pytest.approx(true[end] - true[start])


@given(parts=st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_parts_of_an_interval_add_up(parts: list[int]) -> None:
    wave = source({n / 10: (n * 37) % 101 for n in range(sum(parts) * 10 + 1)})
    at, total = 0, 0.0
    for part in parts:
        total += between(wave, at, at + part)
        at += part
    assert total == pytest.approx(between(wave, 0, at))


# Readings that do not suffice.


@pytest.mark.parametrize(
    ("readings", "why"),
    [
        ({}, "returned no readings"),
        ({3: 5}, "returned no readings"),
        ({0: 5, 3: 5}, "do not cover"),
        ({2: 5, 9: 5}, "do not cover"),
        ({0: 5, 1: 5, 8: 5, 9: 5}, "no reading for 7.0 s"),
    ],
)
def test_readings_that_do_not_suffice(readings: dict[float, int], why: str) -> None:
    with pytest.raises(NoFigure, match=why):
        between(source(readings), 1, 5)


def test_a_little_may_be_missing_at_the_ends() -> None:
    assert between(source({1.04: 5, 3: 5, 4.96: 5}), 1, 5) == pytest.approx(20)


# Which sensors count.


def device(*sources: tuple[str, str, int | None]) -> energy.Energy:
    made = tuple(
        source({} if watts is None else {n / 10: watts for n in range(51)}, name=name, scope=scope)
        for name, scope, watts in sources
    )
    return of_interval(PowerSeries(BEGAN, made), BEGAN + S, 2.0)


def test_what_counts_is_the_whole_device_if_it_is_measured() -> None:
    found = device(("package", "cpu", 10), ("VDD_IN", "board", 20), ("BAT0", "battery", 25))
    assert (found.joules, found.source) == (pytest.approx(40), "VDD_IN (board)")
    assert found.by_source == pytest.approx({"package": 20, "VDD_IN": 40, "BAT0": 50})


def test_a_module_or_a_soc_counts_as_what_it_is_and_never_as_the_device() -> None:
    found = device(("rails", "module", 10), ("pmic rails", "soc", 5), ("package", "cpu", 3))
    assert (found.joules, found.source) == (pytest.approx(20), "rails (module)")
    found = device(("pmic rails", "soc", 5), ("package", "cpu", 3))
    assert (found.joules, found.source) == (pytest.approx(10), "pmic rails (soc)")
    found = device(("pmic rails", "soc", 5), ("VDD_IN", "board", 7), ("BAT0", "battery", 6))
    assert found.source == "VDD_IN (board)"


def test_else_the_battery_else_its_processors_and_memory() -> None:
    found = device(("package", "cpu", 10), ("BAT0", "battery", 25))
    assert (found.joules, found.source) == (pytest.approx(50), "BAT0 (battery)")
    found = device(
        ("package-0", "cpu", 10), ("dram", "memory", 2), ("psys", "part", 40), ("g", "gpu", 100)
    )
    assert (found.joules, found.source) == (
        pytest.approx(224),
        "package-0 + dram + g (cpu, memory, gpu)",
    )
    found = device(("package", "cpu", 10), ("BAT0", "battery", None))
    assert (found.joules, found.source) == (pytest.approx(20), "package (cpu)")


def test_no_figure_has_a_reason() -> None:
    assert device().unavailable == "the device has no power or energy sensor"
    assert device(("x", "cpu", None)).unavailable == "x: it returned no readings"
    found = device(("VDD_SOC", "part", 3))
    assert found.joules is None
    assert "no sensor is known to measure the whole device" in found.unavailable
    assert "VDD_SOC" in found.unavailable


# The file, and the run.


def write(path: Path, began_ns: int, rows: list[list[Any]], **changes: Any) -> Path:
    about = {"name": "VDD_IN", "scope": "board", "kind": "power", "unit": 1e-6, "wraps_at": None}
    head = {"format": 1, "began_unix_ns": began_ns, "sources": [{**about, **changes}]}
    path.write_text("\n".join(json.dumps(line) for line in (head, *rows)) + "\n[1, 2")
    return path


def evaluated(tmp_path: Path, rows: list[list[Any]], **changes: Any) -> RunFacts:
    name = "singlestream_performance"
    started = parse_detail(cases.LOADGEN_LOGS / name / "mlperf_log_detail.txt").started_unix_ns or 0
    path = write(tmp_path / "power.jsonl", started - S, rows, **changes)
    files = {**cases.files(cases.LOADGEN_LOGS / name), "board_power": path}
    return evaluate(cases.inputs(cases.LOADGEN_LOGS / name, name, files=files))


def test_a_run_has_its_energy(tmp_path: Path) -> None:
    facts = evaluated(tmp_path, [[n * S // 10, 4_000_000] for n in range(40)])
    assert facts.condition_reasons == []
    assert facts.duration_s == 0.25
    assert facts.energy_j == pytest.approx(1.0)
    assert facts.power_mean_w == pytest.approx(4.0)
    assert facts.query_count is not None
    assert facts.energy_per_query_j == pytest.approx(1.0 / facts.query_count)
    assert facts.energy_per_sample_j == facts.energy_per_query_j
    assert (facts.energy_source, facts.energy_unavailable) == ("VDD_IN (board)", None)
    assert facts.energy_official is False


def test_a_run_without_says_why(tmp_path: Path) -> None:
    facts = evaluated(tmp_path, [[0, 1], [S // 10, 1]])
    assert (facts.energy_j, facts.energy_per_query_j, facts.power_mean_w) == (None, None, None)
    assert facts.energy_unavailable == "VDD_IN: its readings do not cover the measured interval"
    why = {"telemetry": {"energy_unavailable": ["rapl package-0: only root may read it"]}}
    final = {"started_unix_ns": 1, "provenance": why}
    facts = cases.evaluated("singlestream_performance", final=final)
    assert facts.energy_unavailable == "rapl package-0: only root may read it"
    assert cases.evaluated("singlestream_accuracy").energy_unavailable is None


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": -1},
        {"unit": True},
        {"unit": float("nan")},
        {"unit": 1e300},
        {"kind": "guess"},
        {"wraps_at": -1},
        {"wraps_at": 1.5},
        {"name": None, "unit": "x"},
    ],
)
def test_files_that_no_agent_writes(tmp_path: Path, changes: dict[str, Any]) -> None:
    facts = evaluated(tmp_path, [[0, 1]], **changes)
    assert facts.energy_j is None
    assert {reason["code"] for reason in facts.condition_reasons} == {"refused_figures"}


@given(data=st.binary(max_size=300))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(data)
    with pytest.raises(IngestError):
        energy.read(path)


@given(
    rows=st.lists(
        st.lists(
            st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=3)),
            max_size=3,
        ),
        max_size=10,
    )
)
def test_any_rows(tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]]) -> None:
    path = write(tmp_path_factory.getbasetemp() / "rows.jsonl", BEGAN, rows)
    found = of_interval(energy.read(path), BEGAN, 1.0)
    assert found.joules is None or found.joules >= 0
