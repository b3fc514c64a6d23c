"""The random models of `make bench-models`: which ones they are, and when a goal is unmet."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import ROOT


@pytest.fixture(scope="module")
def models() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "bench"))
        yield importlib.import_module("models_random")


def subject(models: Any, **figures: float) -> Any:
    """A model of 1 ms, all of whose goals are met."""
    one = {
        "bare": 1e6,
        "bare again": 1e6,
        "adapter": 1.002e6,
        "answer": 1.004e6,
        "harness": 1.006e6,
        "loadgen": 1.01e6,
        "bare rate": 1000.0,
        "rate": 990.0,
        **figures,
    }
    return models.RandomSubject("tflite", "1: float32 3, batch first", [one])


def test_there_are_20_models_on_three_runtimes_and_always_the_same(
    models: Any, tmp_path: Path
) -> None:
    found: list[list[tuple[str, bytes, dict[str, Any]]]] = []
    for turn in ("first", "second"):
        folder = tmp_path / turn
        folder.mkdir()
        found.append(
            [
                (title, path.read_bytes(), described)
                for runtime in ("onnxruntime", "openvino", "opencv", "tflite")
                for title, path, described in models.random_models(runtime, folder)
            ]
        )
        assert len(list(folder.iterdir())) == 20
    assert found[0] == found[1] and len({data for _, data, _ in found[0]}) == 20
    large = 0
    for title, _, described in found[0]:
        assert described["input"].get("batch", 1) == 1
        shape, is_large = described["input"]["shape"], int(title.partition(":")[0]) % 2 == 0
        most = models.LARGE_LARGEST if is_large else models.LARGEST
        assert all(1 <= size <= most for size in shape)
        # The most nodes of a runtime: the work is a product with the values of a sample.
        assert not is_large or math.prod(shape) * 6 * models.LARGE_LONGEST >= models.LEAST_WORK
        large += is_large
    assert large >= 6


SMALL = {
    **{"bare": 5_000.0, "adapter": 5_500.0, "answer": 105_500.0, "harness": 106_000.0},
    **{"loadgen": 107_000.0, "bare rate": 2e5, "rate": 1e5},
}
"""A query of 5 µs whose answer takes 100 µs."""


@pytest.mark.parametrize(
    ("figures", "unmet"),
    [
        ({}, []),
        ({"loadgen": 1.031e6}, ["p50 is 1.031"]),
        ({"loadgen": 0.969e6}, ["p50 is 0.969"]),
        ({"rate": 949.0}, ["Offline has 0.949"]),
        # Small models have absolute goals, and in Offline none.
        ({**SMALL, "loadgen": 108_400.0}, []),
        ({**SMALL, "loadgen": 108_600.0}, ["added are +3.60 µs"]),
        ({**SMALL, "adapter": 8_000.0}, ["added are +4.50 µs"]),
        ({**SMALL, "loadgen": 101_000.0}, ["added are -4.00 µs"]),
        # The time of a sample in a batch decides about Offline, not that of a query.
        ({"bare rate": 10_001.0, "rate": 5_000.0}, []),
        ({"bare rate": 10_000.0, "rate": 5_000.0}, ["Offline has 0.500"]),
    ],
)
def test_goals(models: Any, figures: dict[str, float], unmet: list[str]) -> None:
    one = subject(models, **figures)
    assert len(one.missed) == len(unmet)
    assert all(text in missed for text, missed in zip(unmet, one.missed, strict=True))
    text = models.report([one, subject(models)])
    assert text.count("UNMET: tflite, 1: float32 3, batch first: ") == len(unmet)
    assert f"Met by {1 if unmet else 2} of 2." in text
    timed = 2 if one.sample_ms >= 0.1 else 1
    missed = any("Offline" in each for each in one.missed)
    assert f"Offline goal: met by {timed - missed} of {timed} with at least 0.1 ms a sample" in text
    assert f"the other {2 - timed} have no goal in Offline" in text


NS = st.floats(1.0, 1e12)


@given(bare=NS, loadgen=NS, again=NS, bare_rate=NS, rate=NS)
def test_a_model_is_met_exactly_if_no_goal_is_named(
    models: Any, bare: float, loadgen: float, again: float, bare_rate: float, rate: float
) -> None:
    figures = {"bare": bare, "bare again": again, "loadgen": loadgen}
    one = subject(models, **figures, **{"bare rate": bare_rate, "rate": rate})
    text = models.report([one])
    assert ("UNMET" in text) == bool(one.missed) == ("Met by 0 of 1." in text)
    if bare >= 1e5:
        assert (abs(loadgen / bare - 1) > 0.03) == any("p50" in each for each in one.missed)
