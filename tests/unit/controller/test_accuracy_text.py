"""Accuracy texts of MLPerf's benchmarks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.loadgen.rules import ROUND_SEEDS
from fleetmark_controller.mlperf.accuracy_text import differences, read_figures, shortfalls
from fleetmark_controller.mlperf.benchmarks import ROUNDS, official_name
from fleetmark_controller.mlperf.rules import SYSTEM_TYPES, rules

LINES = {
    "resnet": ("accuracy=76.100%, good=38050, total=50000", {"acc": (76.1,)}),
    "retinanet": ("mAP=37.439%", {"mAP": (37.439,)}),
    "bert-99": ('{"exact_match": 83.6, "f1": 90.87}', {"F1": (90.87,)}),
    "3d-unet-99": ("Accuracy: mean = 0.86161, kidney = 0.9", {"DICE": (0.86161,)}),
    "whisper": ("Word Error Rate: 2.07%, accuracy=97.93%", {"ACCURACY": (97.93,)}),
    "rgat": ('{"accuracy": 0.7284, "number_of_samples": 788379}', {"acc": (0.7284,)}),
    "stable-diffusion-xl": (
        "Accuracy Results: {'FID_SCORE': '23.2', 'CLIP_SCORE': '31.7'}",
        {"FID_SCORE": (23.2,), "CLIP_SCORE": (31.7,)},
    ),
}


@pytest.mark.parametrize("benchmark", LINES)
def test_each_script_is_understood(benchmark: str) -> None:
    line, expected = LINES[benchmark]
    targets = rules("v5.1", benchmark).terms.targets
    figures = read_figures(f"{line}\r\n\r\nhash=0a1b\r\n", targets)
    assert figures.by_metric == expected
    assert figures.sha256 == "0a1b"
    assert not list(shortfalls(figures, targets))


def test_a_figure_above_its_upper_bound() -> None:
    targets = rules("v5.1", "stable-diffusion-xl").terms.targets
    text = "{'FID_SCORE': '25.2', 'CLIP_SCORE': '31.7'}"
    found = list(shortfalls(read_figures(text, targets), targets))
    assert found == ["FID_SCORE 25.2 is above the closed division's 23.9501"]


def test_answers_that_are_as_accurate_pass_without_being_the_same() -> None:
    targets = rules("v5.1", "resnet").terms.targets
    one, near, far = "accuracy=76.0%", "accuracy=75.5%", "accuracy=70.0%"
    assert not list(differences(one, near, targets, "resnet"))
    assert "differs by 8.57 %" in next(differences(one, far, targets, "resnet"))
    assert "tell no acc" in next(differences(one, "", targets, "resnet"))
    strict = rules("v5.1", "bert-99.9").terms.targets
    text = '{{"exact_match": 80.0, "f1": {}}}'
    assert list(differences(text.format(90.0), text.format(90.5), strict, "bert-99.9"))


TARGETS = sorted({target for name in ROUNDS["v5.1"].values() for target in name.targets})


@given(st.text(), st.text())
def test_whatever_a_text_says(one: str, other: str) -> None:
    figures = read_figures(one, TARGETS)
    assert list(shortfalls(figures, TARGETS)) or figures.by_metric
    list(differences(one, other, TARGETS, "resnet"))


@pytest.mark.parametrize("round_name", ROUNDS)
def test_every_benchmark_has_rules(round_name: str) -> None:
    for benchmark in ROUNDS[round_name]:
        found = rules(round_name, benchmark)
        assert found.seeds == ROUND_SEEDS[round_name]
        assert any(found.required(system_type) for system_type in SYSTEM_TYPES)
        assert set(found.terms.tests) <= {"TEST01", "TEST04", "TEST06"}


def test_names_of_models() -> None:
    for name, expected in (
        *(("resnet50", "resnet"), ("mobilenet-v1-1.0-224", "resnet"), ("efficientnet", "resnet")),
        *(("llama3_1-8b-edge", "llama3.1-8b-edge"), ("bert-99.9-large", "bert-99.9")),
        *(("mine", "retinanet"), ("other", "other"), ("number", "number")),
    ):
        assert official_name("v5.1", name, {"mine": "retinanet", "number": 3}) == expected
