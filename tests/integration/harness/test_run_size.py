"""Jobs without time for as many queries as LoadGen's percentile needs: they end as estimates."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from fleetmark_catalog.load import load_catalog
from fleetmark_catalog.resolve import expand
from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.run_facts import RunFacts, RunInputs
from tests.support import evaluation_cases as cases
from tests.support.model_files import Node, Value, onnx_graph

OPERATORS = 5000
NO_TIME_S = 0.001
"""A time limit that any model exceeds; nothing stops the job here."""


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of so many operators that less than 64 inferences fit into 50 ms."""
    names = ["x", *(f"t{number}" for number in range(OPERATORS - 1)), "y"]
    nodes = [Node("Sin", (a,), b) for a, b in itertools.pairwise(names)]
    ends = (Value("x", shape=("batch", 16)),), (Value("y", shape=("batch", 16)),)
    path = tmp_path_factory.mktemp("slow") / "slow.onnx"
    path.write_bytes(onnx_graph(*ends, nodes=nodes))
    return path


def measured(bench: Any, configuration: Any, timeout_s: float) -> tuple[Any, RunFacts]:
    ran = bench.run(configuration, lambda job: job.update(timeout_s=timeout_s))
    assert ran.code == 0, ran.stderr
    return ran, evaluated(ran.out, configuration.scenario)


def evaluated(folder: Path, scenario: str) -> RunFacts:
    name = f"{scenario.lower()}_performance"
    return evaluate(
        RunInputs(
            lock={"job": {"loadgen": {"round": "v6.1", "package_version": "6.0.17"}}},
            order={"scenario": scenario, "mode": "performance", "profile": "quick"},
            final={"outcome": "completed", "started_unix_ns": 1, "provenance": {}},
            files=cases.inputs(folder, name).files,
            telemetry=cases.QUIET,
        )
    )


def test_a_run_without_time_is_an_estimate(bench: Any, slow: Path) -> None:
    configuration = expand(
        load_catalog(),
        "network-speed",
        scenarios=["SingleStream"],
        modes=["performance"],
        variations=["magika"],
        parameters={"min_duration_s": ["0.05"]},
    )[0]

    def change(job: dict[str, Any]) -> None:
        job["timeout_s"] = NO_TIME_S
        job["inputs"]["model"] = str(slow)

    ran = bench.run(configuration, change)
    assert ran.code == 0, ran.stderr
    facts = evaluated(ran.out, "SingleStream")
    assert (ran.result["planned_count"], ran.result["needed_count"]) == (1, 64)
    assert ran.details["result_validity"] == "INVALID"
    assert facts.loadgen_validity == "INVALID", "LoadGen's own verdict is not changed"
    assert facts.problems == []
    assert facts.estimate_reason == (
        f"only {facts.query_count} queries fit into the time limit; a measurement needs 64"
    )
    assert facts.submittable is False
    assert facts.latency_mean_ms is not None


def test_an_offline_run_without_time_takes_single_samples(bench: Any, quick: Any) -> None:
    configuration = quick("Offline", "performance", min_duration_s="0.05")
    ran, facts = measured(bench, configuration, NO_TIME_S)
    assert ran.result["calibration"]["batch_size"] == 1
    assert facts.loadgen_validity == "VALID", facts.loadgen_reasons
    assert facts.estimate_reason is None
    assert facts.sample_count == ran.result["computed_sample_count"]


def test_a_requested_batch_is_kept(bench: Any, quick: Any) -> None:
    configuration = quick("Offline", "performance", min_duration_s="0.05", batch_size="8")
    ran, _ = measured(bench, configuration, NO_TIME_S)
    assert ran.result["calibration"]["batch_size"] == 8


def test_a_run_with_time_is_a_measurement(bench: Any, quick: Any) -> None:
    ran, facts = measured(bench, quick("SingleStream"), 300)
    assert ran.result["planned_count"] == ran.result["needed_count"] == 100
    assert (facts.loadgen_validity, facts.estimate_reason) == ("VALID", None)


@pytest.mark.parametrize(
    "claim",
    [
        {"planned_count": 1},
        {"planned_count": 1, "needed_count": 64},
        {"planned_count": 2**40, "needed_count": 2**41},
        {"planned_count": -1, "needed_count": 2**40},
        {"planned_count": True, "needed_count": "all"},
    ],
)
def test_a_claim_alone_makes_no_estimate(tmp_path: Path, claim: dict[str, Any]) -> None:
    folder = cases.copy("singlestream_invalid", tmp_path)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, **claim}))
    assert evaluated(folder, "SingleStream").estimate_reason is None


def test_a_run_that_was_too_short_is_no_estimate(tmp_path: Path) -> None:
    """LoadGen refused it for another reason than the number of queries."""
    folder = cases.copy("singlestream_invalid", tmp_path)
    result = json.loads((folder / "result.json").read_text())
    result.update(planned_count=1, needed_count=2**40)
    (folder / "result.json").write_text(json.dumps(result))
    facts = evaluated(folder, "SingleStream")
    assert (facts.loadgen_validity, facts.estimate_reason) == ("INVALID", None)
