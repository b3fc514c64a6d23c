"""A cross-check of Server: service, queue and LoadGen, from the same queries."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.compare.crosscheck import CANNOT_TELL, PART, Explanation, explain
from fleetmark_controller.evaluation.crosscheck import (
    NATIVE,
    SERVER_FIGURES,
    read_crosscheck,
)
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_controller.operations.crosschecks import arrival_rate
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.unit.controller.test_crosscheck import JSON, facts, log_of

QPS = 1000.0
"""The rate of the stored log."""
PARTS = ["answer", "harness", "p99 instead of p50", "queue", "LoadGen", "the run instead of now"]


def claim(count: int = 9, **changes: Any) -> dict[str, Any]:
    """A cross-check whose last block under LoadGen is the genuine run in Server."""
    result = log_of("Server").result
    assert result is not None
    p99 = float(result.latency.percentiles["99.00"])
    one = {
        "loop_p50_ns": 100_000.0,
        "loop_mean_ns": 101_000.0,
        "answer_ns": 105_000.0,
        "service_p50_ns": 120_000.0,
        "service_p99_ns": 180_000.0,
        "service_mean_ns": 126_000.0,
        "harness_p99_ns": p99 - 20_000,
        "loadgen_ns": float(result.latency.percentiles["50.00"]),
        "official_ns": p99,
    }
    return {
        "format": 1,
        "block_ms": 250,
        "batch_size": 1,
        "rounds": [dict(one) for _ in range(count)],
        "native": None,
        "native_unavailable": "the agent did not detect it",
        **changes,
    }


def changed(**figures: Any) -> dict[str, Any]:
    found = claim()
    found["rounds"][-1].update(figures)
    return found


def run(**changes: Any) -> dict[str, Any]:
    return {
        "scenario": "Server",
        "metric_value": 998.0,
        "query_count": 60_000,
        "latency_p50_ms": 0.2,
        "latency_p90_ms": 0.3,
        "latency_p95_ms": 0.35,
        "latency_p99_ms": 0.6,
        "interval_percent": 0.5,
        "condition": "good",
        "loadgen_validity": "VALID",
        **changes,
    }


def explained(found: dict[str, Any], **changes: Any) -> Explanation:
    return explain(read_crosscheck(found, "Server", log_of("Server")), run(**changes))


def noisy(noise: float) -> dict[str, Any]:
    """Rounds of which only the last one, whose log is stored, has no noise."""
    source, found = random.Random(3), claim()
    for one in found["rounds"][:-1]:
        for name in one:
            one[name] *= 1 + noise * source.uniform(-1, 1)
    return found


def test_a_cross_check_has_rounds_the_rate_of_its_log_and_no_figure(tmp_path: Path) -> None:
    found = facts(tmp_path, "Server", claim(target_qps=5.0))
    assert found.problems == [] and found.crosscheck is not None
    assert found.crosscheck["rounds"] == claim()["rounds"]
    assert found.crosscheck["target_qps"] == QPS
    assert found.metric_value is found.latency_p99_ms is found.query_count is None
    assert not found.submittable and found.loadgen_validity is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (changed(official_ns=17.0), "more than official_ns"),
        (changed(official_ns=600_000.0), "LoadGen's log shows"),
        (changed(loadgen_ns=17.0), "LoadGen's log shows"),
        (changed(service_p50_ns=190_000.0), "service_p50_ns"),
        (changed(service_p99_ns=500_000.0), "more than harness_p99_ns"),
        (changed(harness_p99_ns=520_000.0), "harness_p99_ns"),
        (changed(service_mean_ns=None), "service_mean_ns"),
        (claim(native={"name": "t", "statistic": "p50"}), "native_ns"),
    ],
)
def test_anything_else_is_refused_with_a_reason(
    tmp_path: Path, found: dict[str, Any], reason: str
) -> None:
    got = facts(tmp_path, "Server", found)
    assert got.crosscheck is None and got.loadgen_validity == "INVALID"
    assert reason in " ".join(got.problems)


def test_a_log_without_a_rate_is_refused() -> None:
    log = log_of("Server")
    log = replace(log, settings=replace(log.settings, target_qps=None))
    with pytest.raises(IngestError, match="no rate of arrival"):
        read_crosscheck(claim(), "Server", log)


@given(figure=st.sampled_from([*SERVER_FIGURES, NATIVE]), value=JSON)
def test_hostile_values_are_refused_or_bounded(figure: str, value: Any) -> None:
    try:
        kept = read_crosscheck(changed(**{figure: value}), "Server", log_of("Server"))
    except IngestError as error:
        assert len(error.what) < 400
        return
    for one in kept["rounds"]:
        assert set(one) == set(SERVER_FIGURES)
        order = ("service_p50_ns", "service_p99_ns", "harness_p99_ns", "official_ns")
        values = [one[name] for name in order]
        assert all(a <= b * 1.01 for a, b in itertools.pairwise(values))
    assert len(json.dumps(kept)) < 100_000


def test_each_part_of_a_quiet_device_is_told() -> None:
    found = explained(noisy(1e-6))
    assert [row.name for row in found.rows] == [
        *("bare loop (p50)", *PARTS[:-1], "this cross-check", PARTS[-1], "p99 of the run")
    ]
    parts = {row.name: row for row in found.rows}
    assert parts["harness"].us == pytest.approx(15, abs=0.01)
    assert parts["p99 instead of p50"].us == pytest.approx(60, abs=0.01)
    assert parts["LoadGen"].us == pytest.approx(20, abs=0.01)
    queue = parts["queue"]
    assert queue.us == pytest.approx(510.466 - 20 - 180, abs=0.01)
    assert queue.share == pytest.approx(queue.us / 600) and queue.answer == ""
    assert found.unit == "µs per query" and found.figure_us == pytest.approx(600)


def test_a_part_below_the_noise_is_not_told() -> None:
    rounds = noisy(1e-6)
    for number, one in enumerate(rounds["rounds"][:-1]):
        one["harness_p99_ns"] = one["service_p99_ns"] * (1.0 if number % 2 else 0.9999)
    parts = {row.name: row for row in explained(rounds).rows}
    assert parts["queue"].answer == CANNOT_TELL


def test_the_notes_say_what_the_figure_is_and_how_busy_the_device_is() -> None:
    text = "\n".join(explained(claim()).notes)
    assert "99th percentile" in text and "follows the arrival" in text
    # 1,000 queries of 126 µs.
    assert "1000 queries arrived per second and took 126.00 µs" in text and "13 %" in text
    assert "2.00 at p50, 3.00 at p90, 3.50 at p95, 6.00 at p99" in text
    assert "grows" not in text and "its queue grew" not in text


def test_a_load_near_the_limit_and_a_run_that_fell_behind_are_named() -> None:
    busy = claim()
    for one in busy["rounds"]:
        one["service_mean_ns"] = 900_000.0
    assert "the queue grows for longer than a block" in "\n".join(explained(busy).notes)
    for rate, is_named in ((900.0, True), (1150.0, True), (985.0, False)):
        notes = "\n".join(explained(claim(), metric_value=rate).notes)
        assert ("its queue grew" in notes) == is_named, rate
    # 100 arrivals of a Poisson process are not at the rate either.
    few = explained(claim(), metric_value=900.0, query_count=100)
    assert "its queue grew" not in "\n".join(few.notes)


@pytest.mark.parametrize("value", [None, 0.0, float("nan"), float("inf")])
def test_a_run_without_its_percentile_is_refused(value: float | None) -> None:
    with pytest.raises(FleetmarkError) as error:
        explained(claim(), latency_p99_ms=value)
    assert error.value.kind is ErrorKind.NOT_ALLOWED


NS = st.floats(1.0, 1e12)


@given(
    rounds=st.lists(
        st.fixed_dictionaries(dict.fromkeys((*SERVER_FIGURES, NATIVE), NS)), min_size=1
    ),
    p99=st.floats(1e-3, 1e9),
    statistic=st.sampled_from(["p50", "mean", None]),
)
def test_the_parts_always_add_up_to_the_percentile(
    rounds: list[dict[str, float]], p99: float, statistic: str | None
) -> None:
    native = {"tool": "t", "version": "", "statistic": statistic} if statistic else None
    check = {**claim(), "scenario": "Server", "target_qps": 3.0, "native": native}
    found = explain({**check, "rounds": rounds}, run(latency_p99_ms=p99))
    total = found.rows[0].us + sum(one.us for one in found.rows if one.kind == PART)
    largest = max(abs(one.us) for one in found.rows)
    assert abs(total - p99 * 1e3) <= 1e-9 * (largest + p99 * 1e3)


def conf(text: object) -> dict[str, Any]:
    return {"program_result": {"loadgen_user_conf": text}}


def test_the_rate_of_the_run_is_that_of_its_user_conf() -> None:
    text = "*.Server.min_duration = 500\n*.Server.target_qps = 12.5\n"
    assert arrival_rate("r", conf(text)) == 12.5
    assert arrival_rate("r", conf("*.Server.target_qps = 1e+06\n")) == 1e6


@given(
    provenance=st.one_of(
        st.just({}),
        st.builds(lambda value: {"program_result": value}, JSON),
        st.builds(conf, JSON),
        st.builds(lambda text: conf(f"*.Server.target_qps = {text}\n"), st.text(max_size=50)),
        st.builds(
            lambda text: conf(f"*.Server.target_qps = {text}\n"),
            st.text("0123456789.eE+-", max_size=50),
        ),
    )
)
def test_any_other_rate_is_refused(provenance: dict[str, Any]) -> None:
    try:
        found = arrival_rate("r", provenance)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE and "target_qps" in error.what
        return
    assert 0 < found < 1e9
