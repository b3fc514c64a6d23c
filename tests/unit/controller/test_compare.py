"""Faster, slower, or cannot tell: the statistics, what is put together, and how it is said."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetmark_controller.compare import render
from fleetmark_controller.compare.pairing import match
from fleetmark_controller.compare.side import parse
from fleetmark_controller.compare.statistics import Side, effect, point
from fleetmark_controller.compare.verdict import ComparisonResult, compare_pairings, parse_bound
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.examples import examples

TRIALS = 2000
NOISE = 0.01  # standard deviation of a run's time, as a share: a quiet device
Draw = Callable[[np.random.Generator, int], Any]


def normal(rng: np.random.Generator, n: int) -> Any:
    return np.exp(rng.normal(0, NOISE, n))


def skewed(rng: np.random.Generator, n: int) -> Any:
    """Never faster than the hardware allows, sometimes much slower."""
    return 1 + rng.gamma(1.5, NOISE, n)


def reported(
    draw: Draw, n: int, *, shift: float = 0.0, paired: bool = False, devices: int = 1
) -> float:
    """The share of comparisons that say faster or slower, where B takes exp(shift) of A's time."""
    rng = np.random.default_rng(20261)
    hits = 0
    for _ in range(TRIALS):
        sides = []
        for _ in range(devices):
            a, b = draw(rng, n), draw(rng, n) * math.exp(shift)
            sides.append(Side(tuple(a), tuple(b), paired))
        found = effect(sides)
        assert found is not None
        hits += found.slower or found.faster
    return hits / TRIALS


times = st.floats(0.01, 100.0)


@settings(max_examples=examples(30))
@given(st.lists(times, min_size=4, max_size=8), st.lists(times, min_size=4, max_size=8))
def test_an_effect_and_its_mirror(a: list[float], b: list[float]) -> None:
    there, back = effect([Side(tuple(a), tuple(b))]), effect([Side(tuple(b), tuple(a))])
    assert there is not None
    assert back is not None
    assert there.low <= there.ratio * (1 + 1e-9)
    assert there.ratio <= there.high * (1 + 1e-9)
    assert there.ratio * back.ratio == pytest.approx(1.0)
    assert there == effect([Side(tuple(a), tuple(b))]), "the same runs give the same interval"


def test_few_runs_are_inconclusive_and_equal_runs_show_no_difference() -> None:
    assert effect([Side((1.0, 1.0, 1.0), (2.0, 2.0, 2.0))]) is None
    assert effect([Side((1.0,) * 5, (2.0,) * 5, paired=True)]) is None
    assert effect([]) is None
    same = effect([Side((1.0,) * 4, (1.0,) * 4)])
    assert same is not None
    assert not (same.slower or same.faster)


def test_pairs_see_what_drift_hides() -> None:
    drift = [1 + 0.1 * n for n in range(8)]
    a = tuple(value * (1 + 0.001 * (n % 3)) for n, value in enumerate(drift))
    b = tuple(value * (1.02 + 0.001 * (n % 2)) for n, value in enumerate(drift))
    apart, paired = effect([Side(a, b)]), effect([Side(a, b, paired=True)])
    assert apart is not None
    assert paired is not None
    assert not apart.slower
    assert paired.slower
    assert point([Side(a, b)]) == pytest.approx(point([Side(a, b, paired=True)]))


# --- what is put together ---


def result(n: int, value: float | None = 1.0, **changed: Any) -> dict[str, Any]:
    """A row of the view `results`."""
    given = changed.pop("parameters", {"threads": 1})
    row: dict[str, Any] = {
        "campaign_id": "c1",
        "device": "device-1",
        "arch": "arm64",
        "os": "Debian",
        "board": "Pi",
        "benchmark": "b",
        "model": "m",
        "precision": "int8",
        "dataset": "d",
        "runtime": "litert",
        "runtime_version": "2.0",
        "accelerator": "cpu",
        "scenario": "SingleStream",
        "profile": "quick",
        "parameters": json.dumps(given),
        "started_at": f"2026-01-01T00:{n:02}:00.000Z",
        "metric_name": "early_stopping_latency_p90_ms",
        "metric_value": value,
        "accuracy": 0.9,
        "loadgen_validity": "VALID",
        "estimate_reason": None,
        "condition": "good",
        "performance_run_id": f"run-{n}",
    }
    return {**row, **changed}


def results(values: Sequence[float], start: int = 0, step: int = 1, **changed: Any) -> list[Any]:
    return [result(start + step * n, value, **changed) for n, value in enumerate(values)]


SLOW, FAST = (1.10, 1.11, 1.09, 1.10, 1.105, 1.095), (1.0, 1.01, 0.99, 1.0, 1.005, 0.995)


def test_the_same_configuration_on_the_same_device_is_compared() -> None:
    a = results(FAST) + results(FAST, device="device-2") + results(FAST, scenario="Offline")
    b = results(SLOW, runtime_version="2.1") + results(SLOW, device="device-3")
    matched = match(parse("c1"), a, parse("c2"), b)
    assert [item.device for item in matched.found] == ["device-1"]
    assert any(text.startswith("device-2") for text in matched.only_a)
    assert any("Offline" in text for text in matched.only_a)
    assert any(text.startswith("device-3") for text in matched.only_b)
    (verdict,) = compare_pairings(matched)
    assert verdict.answer is ComparisonResult.SLOWER
    assert verdict.change == pytest.approx(0.1, abs=0.01)


def test_what_sides_were_narrowed_by_need_not_agree() -> None:
    a = results(FAST, step=2)
    b = results(SLOW, start=1, step=2, parameters={"threads": 2})
    matched = match(parse("last:threads=1"), a, parse("last:threads=2"), b)
    (found,) = matched.found
    assert found.paired, "runs that took turns are pairs"
    assert "threads" not in found.configuration
    later = results(SLOW, start=20, parameters={"threads": 2})
    (found,) = match(parse("last:threads=1"), a, parse("last:threads=2"), later).found
    assert not found.paired
    assert not match(parse("last"), a, parse("last"), later).found


def test_benchmarks_that_differ_on_purpose_have_other_models_and_data() -> None:
    a = results(FAST, benchmark="one", model="one", dataset="one", precision="fp32")
    b = results(SLOW, benchmark="two", model="two", dataset="two", accuracy=0.8)
    sides = parse("c:benchmark=one"), parse("c:benchmark=two")
    (found,) = match(sides[0], a, sides[1], b).found
    assert (found.accuracy_a, found.accuracy_b) == (pytest.approx(0.9), pytest.approx(0.8))
    # A side with several models is not mixed.
    several = a + results(FAST, benchmark="one", model="three", dataset="one", precision="fp32")
    assert not match(sides[0], several, sides[1], b).found


def test_accuracies_of_different_metrics_are_not_compared() -> None:
    a = results(FAST, accuracy_metric="top-1")
    for metric, shown in (("top-1", "0.9 → 0.02"), ("top-5", None), ("mae", None)):
        b = results(SLOW, accuracy_metric=metric, accuracy=0.02)
        (verdict,) = compare_pairings(match(parse("c1"), a, parse("c2"), b))
        assert render.row(verdict)[-1] == shown
    errors = results(FAST, accuracy_metric="mae"), results(SLOW, accuracy_metric="mae")
    (verdict,) = compare_pairings(match(parse("c1"), errors[0], parse("c2"), errors[1]))
    assert render.row(verdict)[-1] == "0.9 mae"
    assert render.plain(verdict, [])["accuracy_metric"] == "mae"


def test_the_direction_of_a_metric_is_named() -> None:
    for metric, better in (
        ("mae", "lower"),
        ("wer", "lower"),
        ("map", "higher"),
        ("top-1", "higher"),
    ):
        sides = results(FAST, accuracy_metric=metric), results(SLOW, accuracy_metric=metric)
        verdicts = compare_pairings(match(parse("c1"), sides[0], parse("c2"), sides[1]))
        assert {render.plain(one, [])["accuracy_better"] for one in verdicts} == {better}
        lines = "\n".join(render.notes(verdicts, (), ()))
        assert (f"lower is better with {metric}." in lines) is (better == "lower")
    (verdict,) = compare_pairings(match(parse("c1"), results(FAST), parse("c2"), results(SLOW)))
    assert render.plain(verdict, [])["accuracy_better"] is None


def test_devices_can_be_compared_with_each_other() -> None:
    a, b = results(FAST), results(SLOW, device="device-2", arch="x86_64")
    (verdict,) = compare_pairings(
        match(parse("c:device=device-1"), a, parse("c:device=device-2"), b)
    )
    assert verdict.answer is ComparisonResult.SLOWER
    (verdict,) = compare_pairings(match(parse("c:arch=arm64"), a, parse("c:arch=x86_64"), b))
    assert verdict.device == ""
    assert render.row(verdict)[0] == "any device"


def test_more_samples_a_second_are_faster() -> None:
    def rate(values: Sequence[float]) -> list[Any]:
        return results([1 / v for v in values], metric_name="samples_per_s", scenario="Offline")

    (verdict,) = compare_pairings(match(parse("c1"), rate(FAST), parse("c2"), rate(SLOW)))
    assert verdict.answer is ComparisonResult.SLOWER
    assert verdict.change == pytest.approx(0.1, abs=0.01), "the time of a sample is compared"


def test_runs_that_are_no_evidence_are_left_out_and_counted() -> None:
    b = [
        *results(SLOW[:4]),
        result(10, 50.0, loadgen_validity="INVALID"),
        result(13, 50.0, estimate_reason="only 3 queries fit into the time limit"),
        result(11, None),
        result(12, 1.1, condition="suspicious"),
    ]
    matched = match(parse("c1"), results(FAST), parse("c2"), b)
    (verdict,) = compare_pairings(matched)
    assert (verdict.runs_b, verdict.left_out, verdict.doubtful) == (5, 3, 1)
    output = " ".join(render.notes([verdict], (), ()))
    assert "3 runs left out" in output
    assert "1 run in suspicious condition" in output


def test_too_few_runs_say_what_is_needed() -> None:
    (verdict,) = compare_pairings(match(parse("c1"), results(FAST[:3]), parse("c2"), results(SLOW)))
    assert verdict.answer is ComparisonResult.CANNOT_TELL
    assert verdict.why == "needs 4 runs of each: --repeat 4"
    assert verdict.change is not None
    none = results([1.0], loadgen_validity="INVALID")
    (verdict,) = compare_pairings(match(parse("c1"), none, parse("c2"), results(SLOW)))
    assert verdict.why == "no valid run of A"
    assert verdict.change is None


def test_a_fleet_is_evaluated_over_its_devices() -> None:
    a, b = [], []
    for device in ("device-1", "device-2", "device-3"):
        a += results(FAST, device=device)
        b += results(SLOW, device=device)
    a += results(FAST[:2], device="device-4")
    b += results(SLOW[:2], device="device-4")
    verdicts = compare_pairings(match(parse("c1"), a, parse("c2"), b))
    assert [v.device for v in verdicts] == ["device-1", "device-2", "device-3", "device-4", ""]
    fleet = verdicts[-1]
    assert (fleet.devices, fleet.runs_a) == (3, 18)
    assert fleet.answer is ComparisonResult.SLOWER
    single = verdicts[0].effect
    assert fleet.effect is not None
    assert single is not None
    assert fleet.effect.high - fleet.effect.low < single.high - single.low


@pytest.mark.parametrize(
    "text", ["", ":threads=1", "last:", "last:threads", "last:a=1,a=2", "x:=1"]
)
def test_sides_that_are_none(text: str) -> None:
    with pytest.raises(FleetmarkError) as caught:
        parse(text)
    assert caught.value.kind is ErrorKind.USAGE


def test_sides_say_which_word_is_unknown_and_which_values_there_are() -> None:
    rows = [result(1), result(2, parameters={"threads": 2})]
    with pytest.raises(FleetmarkError, match="thraeds") as caught:
        parse("last:thraeds=1").select(rows)
    assert caught.value.kind is ErrorKind.USAGE
    assert "threads" in str(caught.value.next_step)
    with pytest.raises(FleetmarkError) as caught:
        parse("last:threads=8").select(rows)
    assert caught.value.kind is ErrorKind.NOT_FOUND
    assert caught.value.next_step == "Values of threads: 1, 2"
    assert parse("last:threads=2").select(rows) == rows[1:]


def test_bounds() -> None:
    (slower,) = compare_pairings(match(parse("c1"), results(FAST), parse("c2"), results(SLOW)))
    assert parse_bound("slower=3%").broken_by(slower)
    assert parse_bound("slower").broken_by(slower)
    assert not parse_bound("slower=15%").broken_by(slower)
    assert not parse_bound("faster=3%").broken_by(slower)
    for text in ("", "slower=", "slower=3", "worse=3%", "slower=-3%"):
        with pytest.raises(FleetmarkError):
            parse_bound(text)


# --- how it is said ---


def test_markdown_and_junit() -> None:
    a = results(FAST, model="m|<b>") + results(FAST[:2], scenario="Offline")
    b = results(SLOW, model="m|<b>") + results(SLOW[:2], scenario="Offline")
    verdicts = compare_pairings(match(parse("c1"), a, parse("c2"), b))
    text = render.markdown("B against A", verdicts, ["a note"])
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(verdicts)
    assert "m\\|&lt;b>" in text
    suite = ElementTree.fromstring(render.junit("x", verdicts, [parse_bound("slower=3%")]))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("2", "1", "1")
    assert suite.find(".//failure").get("message", "").startswith("slower: +10.")  # type: ignore[union-attr]
