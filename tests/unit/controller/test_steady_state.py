"""The steady state of sustained runs: found on synthetic traces, and in no others."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleetmark_controller.cli.sustained_summary import sustained_lines
from fleetmark_controller.evaluation import sustained as series
from fleetmark_controller.evaluation.steady_state import (
    LEAST_WINDOWS,
    MOST_DRIFT,
    find_steady_state,
)
from fleetmark_controller.evaluation.sustained import COLUMNS, sustained_run
from fleetmark_controller.evaluation.telemetry import Telemetry
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.planning import sustained

SEED = st.integers(0, 2**32 - 1)
NOTHING = Telemetry({})


def noise(seed: int, count: int, share: float = 0.005) -> Any:
    return 1 + share * np.random.default_rng(seed).standard_normal(count)


@given(st.integers(40, 200), st.floats(0.05, 0.4), st.floats(0.3, 0.8), SEED)
def test_the_end_of_throttling_is_found(count: int, share: float, level: float, seed: int) -> None:
    place = max(1, int(count * share))
    values = np.where(np.arange(count) < place, 1.0, level) * noise(seed, count) * 100
    found = find_steady_state(values.tolist())
    assert found.start is not None
    # What is left out is all of the fast part; noise may extend it, but not past the middle.
    assert place <= found.start < count / 2
    assert np.mean(values[found.start :]) == pytest.approx(100 * level, rel=0.02)


@given(st.integers(30, 200), st.floats(0.02, 0.08), st.floats(0.3, 0.9), SEED)
def test_an_exponential_decline_settles(count: int, rate: float, level: float, seed: int) -> None:
    times = np.arange(count) / count
    values = (level + (1 - level) * np.exp(-times / rate)) * noise(seed, count)
    found = find_steady_state(values.tolist())
    assert found.start is not None and found.start > 0
    assert np.mean(values[found.start :]) == pytest.approx(level, rel=0.03)


@given(st.integers(LEAST_WINDOWS, 200), st.floats(0.2, 0.9), SEED, st.booleans())
def test_a_lasting_decline_is_never_steady(count: int, fall: float, seed: int, rises: bool) -> None:
    values = (1 - fall * np.arange(count) / (count - 1)) * noise(seed, count, 0.001)
    found = find_steady_state((values[::-1] if rises else values).tolist())
    assert found.start is None and found.reason


@given(st.integers(LEAST_WINDOWS, 200), st.floats(0.6, 0.9))
def test_a_late_step_is_never_steady(count: int, share: float) -> None:
    place = int(count * share)
    assume(count // 2 < place < count - 1)
    values = [100.0] * place + [60.0] * (count - place)
    assert find_steady_state(values).start is None


@given(st.lists(st.floats(0, 1e6), max_size=60), st.floats(0.001, 1000))
def test_any_series_gives_a_start_in_its_first_half_or_a_reason(
    values: list[float], factor: float
) -> None:
    found = find_steady_state(values)
    if found.start is None:
        assert found.reason
    else:
        assert 0 <= found.start < len(values) / 2
        assert found.drift is not None and abs(found.drift) <= MOST_DRIFT


@given(st.integers(LEAST_WINDOWS, 100), st.floats(1e-3, 1e6))
def test_a_constant_series_is_steady_from_its_start(count: int, value: float) -> None:
    assert find_steady_state([value] * count).start == 0
    assert find_steady_state([value] * (LEAST_WINDOWS - 1)).start is None
    assert find_steady_state([0.0] * count).reason == "it completed no samples"


@given(st.lists(st.integers(1, 1000), min_size=20, max_size=60), st.integers(2, 64))
def test_the_unit_does_not_matter(values: list[int], power: int) -> None:
    # Powers of two scale without rounding.
    scaled = [math.ldexp(value, power) for value in values]
    assert find_steady_state(scaled).start == find_steady_state(list(map(float, values))).start


# The series of a run


def throttled(fast_ms: float, slow_ms: float, fast_s: float, slow_s: float) -> Any:
    fast, slow = int(fast_s * 1000 / fast_ms), int(slow_s * 1000 / slow_ms)
    return np.array([fast_ms * 1e6] * fast + [slow_ms * 1e6] * slow, np.int64)


def observed(duration_s: int, hot_from_s: int) -> Telemetry:
    times = [1000.0 * at for at in range(duration_s + 5)]
    hot = [at >= 1000 * (hot_from_s + 5) for at in times]
    return Telemetry(
        {
            "elapsed_ms": list(times),
            "temperature_c": [80.0 if one else 50.0 for one in hot],
            "frequency_hz": [1.2e9 if one else 1.8e9 for one in hot],
        }
    )


def test_a_throttled_run_has_the_figure_of_its_steady_state() -> None:
    samples = throttled(10, 20, 60, 240)
    found = sustained_run("SingleStream", samples, 300.0, observed(300, 60), 5000.0)
    assert found is not None
    assert found.steady_start_s == pytest.approx(60, abs=2 * found.window_s)
    assert found.throughput_samples_per_s == pytest.approx(50, rel=0.02)
    assert found.latency_mean_ms == pytest.approx(20)
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in found.rows]
    assert rows[0]["throughput_samples_per_s"] == pytest.approx(100, rel=0.05)
    assert (rows[2]["temperature_c"], rows[2]["frequency_hz"]) == (50.0, 1.8e9)
    assert (rows[-1]["temperature_c"], rows[-1]["frequency_hz"]) == (80.0, 1.2e9)
    assert sum(r["throughput_samples_per_s"] or 0 for r in rows) * found.window_s == pytest.approx(
        samples.size
    )
    json.dumps(found.as_document(), allow_nan=False)
    lines = list(sustained_lines(json.loads(json.dumps(found.as_document()))))
    assert "50 samples/s, 20 ms mean latency in the steady state, from 60 s on" in lines[0]
    assert "█" in lines[1] and "to 100.4 samples/s" in lines[1]
    assert lines[-1].split() == ["300", "s", "50.03", "20", "20", "80", "1200"]


def test_offline_counts_calls_and_multistream_queries() -> None:
    calls = throttled(80, 160, 60, 240)
    ends = np.repeat(np.cumsum(calls), 32)
    found = sustained_run("Offline", ends, 300.0, NOTHING, 0.0)
    assert found is not None
    assert found.throughput_samples_per_s == pytest.approx(200, rel=0.03)
    assert found.latency_mean_ms == pytest.approx(160, rel=0.001)
    found = sustained_run("MultiStream", np.repeat(calls, 8), 300.0, NOTHING, 0.0)
    assert found is not None
    assert found.throughput_samples_per_s == pytest.approx(50, rel=0.03)
    assert found.rows[0][4] is None and found.rows[0][5] is None


def test_without_a_steady_state_there_is_no_figure() -> None:
    samples = (np.linspace(10, 30, 10_000) * 1e6).astype(np.int64)
    found = sustained_run("SingleStream", samples, 200.0, NOTHING, 0.0)
    assert found is not None and found.rows
    assert found.throughput_samples_per_s is found.latency_mean_ms is found.steady_start_s is None
    (line, *_) = sustained_lines(found.as_document())
    assert line.startswith("Sustained  no steady state: it still")


def test_what_cannot_be_has_no_series() -> None:
    samples = throttled(10, 20, 60, 240)
    with pytest.raises(IngestError, match="longer than the interval"):
        sustained_run("SingleStream", samples, 200.0, NOTHING, 0.0)
    assert sustained_run("Server", samples, 300.0, NOTHING, 0.0) is None
    assert sustained_run("SingleStream", samples[:0], 300.0, NOTHING, 0.0) is None
    assert series.SCENARIOS == sustained.SCENARIOS


@given(
    st.sampled_from(series.SCENARIOS),
    st.lists(st.integers(0, 10**10), min_size=1, max_size=200),
    st.floats(1.0, 1.5),
)
def test_any_samples_give_finite_figures(
    scenario: str, durations: list[int], factor: float
) -> None:
    taken = np.array(sorted(durations) if scenario == "Offline" else durations, np.int64)
    whole = int(taken[-1]) if scenario == "Offline" else int(taken.sum())
    assume(whole > 0)
    found = sustained_run(scenario, taken, whole / 1e9 * factor, NOTHING, 0.0)
    assert found is not None
    json.dumps(found.as_document(), allow_nan=False)
    total = sum(row[1] or 0.0 for row in found.rows) * found.window_s
    assert total == pytest.approx(taken.size)
    assert list(sustained_lines(found.as_document()))


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_a_strange_document_is_shown_without_an_error(value: Any) -> None:
    for document in (value, {"columns": value, "rows": value}, {"columns": ["x"], "rows": [value]}):
        assert isinstance(list(sustained_lines(document)), list)
