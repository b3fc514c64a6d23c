"""A device that gets faster after the calibration still gives a valid figure."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="module")
def runs(bench: Any) -> dict[str, Any]:
    found: dict[str, Any] = bench.run_module("onnxruntime", "tests.support.faster_model")
    return found


@pytest.mark.parametrize("scenario", ["Offline", "SingleStream", "MultiStream"])
def test_a_test_that_was_too_short_is_repeated(runs: dict[str, Any], scenario: str) -> None:
    run = runs[scenario]
    assert run["validity"] == "VALID"
    assert run["repeated"] >= 1
    assert run["latency_ns"] < run["first_latency_ns"] / 5
    # Only the last test is the result, and user.conf is that of this test.
    assert run["durations"] == run["samples"]
    if scenario == "Offline":
        assert f"target_qps = {run['target_qps']:.6g}" in run["user_conf"]


@pytest.mark.parametrize("case", ["given", "no time"])
def test_it_is_not_repeated_against_the_order(runs: dict[str, Any], case: str) -> None:
    assert runs[case]["repeated"] == 0
    assert runs[case]["validity"] == "INVALID"
