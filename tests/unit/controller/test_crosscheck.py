"""A cross-check: what of it is stored, and how it explains the figure of a run."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.compare.crosscheck import (
    CANNOT_TELL,
    PART,
    explain,
    median_interval,
)
from fleetmark_controller.evaluation.crosscheck import (
    FIGURES,
    MOST_ROUNDS,
    NATIVE,
    read_crosscheck,
)
from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.run_facts import RunFacts
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.loadgen.limits import MAX_LATENCY_NS
from fleetmark_controller.loadgen.loadgen_log import LoadgenLog, parse_detail
from fleetmark_controller.operations.crosschecks import check_run
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support import LOADGEN_LOGS
from tests.support.evaluation_cases import SCENARIOS, copy, inputs

NAMES = {scenario: f"{name}_performance" for name, scenario in SCENARIOS.items()}
EXPLAINED = ("SingleStream", "MultiStream", "Offline")
TOOL = {"name": "onnxruntime_perf_test", "path": "/usr/bin/x", "version": "", "statistic": "p50"}


def log_of(scenario: str) -> LoadgenLog:
    return parse_detail(LOADGEN_LOGS / NAMES[scenario] / "mlperf_log_detail.txt")


def claim(scenario: str, rounds: int = 9, **changes: Any) -> dict[str, Any]:
    """A cross-check whose last block under LoadGen is the genuine run of that scenario."""
    result = log_of(scenario).result
    assert result is not None
    latency = result.query_latency or result.latency
    names = {"SingleStream": "90.00", "MultiStream": "99.00"}
    if scenario == "Offline":
        assert result.metric_value is not None
        loadgen = official = 1e9 / result.metric_value
    else:
        loadgen = float(latency.percentiles["50.00"])
        official = float(latency.percentiles[names[scenario]])
    one = {
        "loop_p50_ns": loadgen * 0.8,
        "loop_mean_ns": loadgen * 0.85,
        "answer_ns": loadgen * 0.9,
        "harness_ns": loadgen * 0.97,
        "loadgen_ns": loadgen,
        "official_ns": official,
    }
    return {
        "format": 1,
        "block_ms": 250,
        "batch_size": 1,
        "rounds": [dict(one) for _ in range(rounds)],
        "native": None,
        "native_unavailable": "the agent did not detect it",
        **changes,
    }


def facts(tmp_path: Path, scenario: str, found: Any) -> RunFacts:
    folder = copy(NAMES[scenario], tmp_path)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "crosscheck": found}))
    order = {"scenario": scenario, "mode": "crosscheck", "profile": "valid"}
    return evaluate(inputs(folder, NAMES[scenario], order=order))


@pytest.mark.parametrize("scenario", EXPLAINED)
def test_a_cross_check_has_rounds_and_no_figure(tmp_path: Path, scenario: str) -> None:
    found = facts(tmp_path, scenario, claim(scenario))
    assert found.problems == [] and found.crosscheck is not None
    assert found.crosscheck["rounds"] == claim(scenario)["rounds"]
    assert found.loadgen_validity is None and not found.submittable
    for name in (
        *("metric_value", "latency_p50_ms", "latency_p90_ms", "throughput_samples_per_s"),
        *("query_count", "sample_count", "duration_s", "energy_j", "samples", "accuracy"),
    ):
        assert getattr(found, name) is None, name


def test_a_performance_run_stores_no_cross_check(tmp_path: Path) -> None:
    folder = copy(NAMES["SingleStream"], tmp_path)
    result = json.loads((folder / "result.json").read_text())
    result["crosscheck"] = claim("SingleStream")
    (folder / "result.json").write_text(json.dumps(result))
    found = evaluate(inputs(folder, NAMES["SingleStream"]))
    assert found.crosscheck is None and found.metric_value is not None


def changed(scenario: str, name: str, value: Any) -> dict[str, Any]:
    found = claim(scenario)
    found["rounds"][-1][name] = value
    return found


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "no cross-check"),
        (claim("SingleStream", format=2), "another format"),
        (claim("SingleStream", rounds=0), "1 to 64 rounds"),
        (claim("SingleStream", rounds=MOST_ROUNDS + 1), "1 to 64 rounds"),
        (changed("SingleStream", "loop_p50_ns", 0), "loop_p50_ns"),
        (changed("SingleStream", "answer_ns", True), "answer_ns"),
        (changed("SingleStream", "harness_ns", float("nan")), "harness_ns"),
        (changed("SingleStream", "harness_ns", MAX_LATENCY_NS * 2), "harness_ns"),
        (changed("SingleStream", "loadgen_ns", 17.0), "LoadGen's log shows"),
        (changed("SingleStream", "official_ns", 17.0), "LoadGen's log shows"),
        (claim("SingleStream", native=TOOL), "native_ns"),
        (claim("SingleStream", native={**TOOL, "statistic": "min"}), "statistic"),
        (claim("SingleStream", native={**TOOL, "name": 3}), "no name"),
        (claim("SingleStream", block_ms=-1), "block_ms"),
        (claim("SingleStream", batch_size=1.5), "batch_size"),
    ],
)
def test_anything_else_is_refused_with_a_reason(tmp_path: Path, found: Any, reason: str) -> None:
    got = facts(tmp_path, "SingleStream", found)
    assert got.crosscheck is None and got.loadgen_validity == "INVALID"
    assert reason in " ".join(got.problems)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(
    key=st.sampled_from(["rounds", "native", "native_unavailable", "block_ms", "batch_size"]),
    figure=st.sampled_from([*FIGURES, NATIVE]),
    value=JSON,
    inside=st.booleans(),
)
def test_hostile_values_are_refused_or_bounded(
    key: str, figure: str, value: Any, inside: bool
) -> None:
    found = changed("SingleStream", figure, value) if inside else claim("SingleStream")
    if not inside:
        found[key] = value
    try:
        kept = read_crosscheck(found, "SingleStream", log_of("SingleStream"))
    except IngestError as error:
        assert len(error.what) < 400
        return
    for one in kept["rounds"]:
        assert all(0 < figure <= MAX_LATENCY_NS for figure in one.values())
        assert set(one) == set(FIGURES)
    assert len(json.dumps(kept)) < 100_000


def run(**changes: Any) -> dict[str, Any]:
    return {
        "scenario": "SingleStream",
        "metric_value": 0.135,
        "latency_p90_ms": 0.130,
        "interval_percent": 0.5,
        "condition": "good",
        "loadgen_validity": "VALID",
        **changes,
    }


def check(rounds: list[dict[str, float]], **changes: Any) -> dict[str, Any]:
    return {
        "scenario": "SingleStream",
        "block_ms": 250,
        "batch_size": 1,
        "rounds": rounds,
        "native": None,
        "native_unavailable": "the agent did not detect it",
        **changes,
    }


def rounds_of(count: int, noise: float, **levels: float) -> list[dict[str, float]]:
    source = random.Random(3)
    base = {
        "loop_p50_ns": 100_000.0,
        "loop_mean_ns": 104_000.0,
        "answer_ns": 105_000.0,
        "harness_ns": 106_000.0,
        "loadgen_ns": 108_000.0,
        "official_ns": 118_000.0,
        **levels,
    }
    return [
        {name: value * (1 + noise * source.uniform(-1, 1)) for name, value in base.items()}
        for _ in range(count)
    ]


def test_each_part_of_a_quiet_device_is_told() -> None:
    found = explain(check(rounds_of(9, 1e-6)), run())
    assert [row.name for row in found.rows] == [
        *("bare loop (p50)", "answer", "harness", "LoadGen", "p90 instead of p50"),
        *("this cross-check", "the run instead of now", "early stopping of LoadGen"),
        "official figure",
    ]
    parts = {row.name: row for row in found.rows}
    assert parts["LoadGen"].us == pytest.approx(2.0, abs=0.01)
    assert parts["answer"].us == pytest.approx(5.0, abs=0.01)
    assert parts["early stopping of LoadGen"].us == pytest.approx(5.0)
    assert parts["the run instead of now"].us == pytest.approx(12.0, abs=0.01)
    assert all(row.answer == "" for row in found.rows)
    assert found.figure_us == pytest.approx(135.0) and parts["official figure"].share == 1.0


def test_a_part_below_the_noise_is_not_told() -> None:
    found = explain(check(rounds_of(9, 0.2)), run())
    parts = {row.name: row for row in found.rows}
    for name in ("answer", "harness", "LoadGen"):
        row = parts[name]
        assert row.answer == CANNOT_TELL
        assert row.low_us is not None and row.high_us is not None
        assert row.low_us <= 0 <= row.high_us


def test_too_few_rounds_tell_nothing_about_parts() -> None:
    found = explain(check(rounds_of(5, 1e-6)), run())
    parts = [row for row in found.rows if row.kind == PART]
    assert {row.answer for row in parts if row.name != "early stopping of LoadGen"} == {CANNOT_TELL}
    assert any("Only 5 rounds" in note for note in found.notes)


@pytest.mark.parametrize(
    ("statistic", "names"),
    [
        ("p50", ["tool (p50)", "Python interface, other build", "bare loop (p50)"]),
        (
            "mean",
            [
                *("tool (mean)", "Python interface, other build", "p50 instead of mean"),
                "bare loop (p50)",
            ],
        ),
    ],
)
def test_a_tool_is_compared_by_the_statistic_that_it_prints(
    statistic: str, names: list[str]
) -> None:
    rounds = rounds_of(9, 1e-6, native_ns=98_000.0)
    native = {"tool": "tool", "version": "", "statistic": statistic}
    found = explain(check(rounds, native=native), run())
    assert [row.name for row in found.rows][: len(names)] == names
    interface = found.rows[1].us
    assert interface == pytest.approx(2.0 if statistic == "p50" else 6.0, abs=0.01)


def test_a_run_without_an_estimate_of_loadgen_does_not_call_its_percentile_official() -> None:
    found = explain(check(rounds_of(9, 1e-6)), run(metric_value=None, loadgen_validity="INVALID"))
    assert found.rows[-1].name == "figure, without early stopping"
    assert any("INVALID" in note for note in found.notes)


@pytest.mark.parametrize(
    "changes",
    [
        {"scenario": "Offline"},
        {"metric_value": None, "latency_p90_ms": None},
        {"metric_value": None, "latency_p90_ms": float("nan")},
    ],
)
def test_a_run_without_a_figure_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FleetmarkError) as error:
        explain(check(rounds_of(9, 0.0)), run(**changes))
    assert error.value.kind is ErrorKind.NOT_ALLOWED


NS = st.floats(1.0, 1e12)


@given(
    scenario=st.sampled_from(EXPLAINED),
    rounds=st.lists(st.fixed_dictionaries(dict.fromkeys((*FIGURES, NATIVE), NS)), min_size=1),
    figure=st.floats(1e-3, 1e9),
    p=st.floats(1e-3, 1e9),
    statistic=st.sampled_from(["p50", "mean", None]),
)
def test_the_parts_always_add_up_to_the_figure(
    scenario: str,
    rounds: list[dict[str, float]],
    figure: float,
    p: float,
    statistic: str | None,
) -> None:
    native = {"tool": "t", "version": "", "statistic": statistic} if statistic else None
    row = run(scenario=scenario, metric_value=figure, latency_p90_ms=p, latency_p99_ms=p)
    found = explain(check(rounds, scenario=scenario, native=native), row)
    level = found.rows[0].us
    total = level + sum(one.us for one in found.rows if one.kind == PART)
    largest = max(abs(one.us) for one in found.rows)
    assert abs(total - found.figure_us) <= 1e-9 * largest + 1e-9 * found.figure_us
    for one in found.rows:
        if one.low_us is not None and one.high_us is not None:
            assert one.low_us <= one.us <= one.high_us
            assert (one.answer == CANNOT_TELL) == (
                one.kind == PART and one.low_us <= 0 <= one.high_us
            )


def test_the_interval_of_a_median_is_that_of_the_sign_test() -> None:
    # Tables of the sign test: the second of 9 values has 96.1 %, the extremes of 6 have 96.9 %.
    assert median_interval(range(9)) == (1, 7)
    assert median_interval(range(6)) == (0, 5)
    assert median_interval(range(5)) is None
    assert median_interval([]) is None


@pytest.mark.parametrize(
    ("mode", "scenario", "wheel", "kind", "reason"),
    [
        ("accuracy", "Offline", "1.4.0", ErrorKind.USAGE, "only runs in mode performance"),
        ("crosscheck", "Offline", "1.4.0", ErrorKind.USAGE, "only runs in mode performance"),
        (
            "performance",
            "Offline",
            "1.3.0",
            ErrorKind.NOTHING_FITS,
            "1.3.0, has no mode crosscheck;",
        ),
        ("performance", "Server", "1.3.0", ErrorKind.NOTHING_FITS, "needs 1.5 or later"),
        ("performance", "Server", "1.4.0", ErrorKind.NOTHING_FITS, "no mode crosscheck in Server"),
        ("performance", "Server", "x", ErrorKind.NOTHING_FITS, "has no mode crosscheck;"),
    ],
)
def test_runs_that_cannot_be_explained(
    mode: str, scenario: str, wheel: str, kind: ErrorKind, reason: str
) -> None:
    wheels = ["numpy-2.0-x.whl", f"fleetmark_harness-{wheel}-py3-none-any.whl"]
    with pytest.raises(FleetmarkError) as error:
        check_run("r", mode, scenario, wheels)
    assert error.value.kind is kind and reason in error.value.what


def test_runs_that_can_be_explained() -> None:
    for version in ("1.4.0", "1.10.2", "2.0"):
        wheels = [f"fleetmark_harness-{version}-py3-none-any.whl"]
        check_run("r", "performance", "SingleStream", wheels)
    for version in ("1.5.0", "1.10.2", "2.0"):
        wheels = [f"fleetmark_harness-{version}-py3-none-any.whl"]
        check_run("r", "performance", "Server", wheels)
