"""docs/how-to/tuning-a-runtime.md as written, sweeps of an imported model, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_docs import commands
from tests.support import ROOT
from tests.support.model_files import Node, Value, onnx_graph
from tests.support.processes import Fleet, fleet_in
from tests.support.sample_output import sample_outputs, unmatched_lines

pytestmark = pytest.mark.e2e
PAGE = "docs/how-to/tuning-a-runtime.md"
SWEEP, LIST, PROFILE, LIST_RUNS, OPERATORS, SAVE = commands(PAGE)
JOB = ("--mode", "performance", "--param", "min_duration_s=0.2", "--wait")
PHASES = ("load_ms", "first_inference_ms", "warmup_ms", "steady_state_ms", "load_memory_bytes")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("tuning")) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench-01")
        yield fleet


def succeeds(fleet: Fleet, *words: str) -> str:
    done = fleet.run(*words)
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return done.stdout


def shown(fleet: Fleet) -> dict[str, Any]:
    """The newest run."""
    found: dict[str, Any] = json.loads(succeeds(fleet, "results", "show", "last", "--json"))
    return found


def test_the_document(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sweep_table, operator_table = sample_outputs((ROOT / PAGE).read_text())
    assert "4 jobs on 1 device" in succeeds(fleet, *SWEEP[1:])
    assert unmatched_lines(sweep_table.splitlines()[0], succeeds(fleet, *LIST[1:])) == []
    succeeds(fleet, *PROFILE[1:])
    succeeds(fleet, *LIST_RUNS[1:])
    table = succeeds(fleet, *OPERATORS[1:])
    assert unmatched_lines(operator_table.splitlines()[0], table) == []
    assert "Conv" in table and "of the model, profiled after the run" in table
    succeeds(fleet, *SAVE[1:])
    trace = json.loads((tmp_path / "profiled-run" / "operator_profile.json").read_text())
    run = shown(fleet)
    assert trace["otherData"]["calls"] == run["operators"]["calls"]
    assert run["parameters"] == json.dumps({"graph_optimization": "all", "profile_ops": True})
    assert all(run[name] > 0 for name in PHASES)
    assert run["load_memory_bytes"] <= run["peak_memory_bytes"]
    whole = succeeds(fleet, "results", "show", "last")
    for heading in ("Phases     load ", "Memory     after loading ", "Operators  "):
        assert heading in whole
    only = json.loads(succeeds(fleet, "results", "show", "last", "--ops", "--json"))
    assert only == {"run_id": run["run_id"], "operators": run["operators"]}


def test_litert_says_that_it_has_no_profile(fleet: Fleet) -> None:
    words = ("--scenario", "SingleStream", "--variation", "tflite", "--param", "xnnpack=false")
    succeeds(fleet, "schedule", "fashion-mnist", *JOB, *words, "--profile-ops")
    run = shown(fleet)
    assert run["accelerator"] == "builtin"
    reason = run["operators"]["unavailable"]
    assert reason.startswith("ai-edge-litert ") and reason.endswith("profile in Python")
    assert succeeds(fleet, "results", "show", "last", "--ops").strip() == f"unavailable: {reason}"
    assert f"Operators  unavailable: {reason}" in succeeds(fleet, "results", "show", "last")


def test_a_run_that_was_not_profiled_names_the_option(fleet: Fleet) -> None:
    succeeds(fleet, "schedule", "fashion-mnist", *JOB, "--scenario", "SingleStream")
    assert "--profile-ops" in succeeds(fleet, "results", "show", "last", "--ops")
    assert shown(fleet)["operators"] is None


def test_what_does_not_fit_is_refused_by_name(fleet: Fleet) -> None:
    refused = fleet.run("schedule", "fashion-mnist", *JOB, "--param", "xnnpack=false")
    assert refused.returncode == 2
    assert "parameter xnnpack does not apply to runtime onnxruntime" in refused.stderr
    absent = fleet.run(
        *("schedule", "fashion-mnist", *JOB, "--scenario", "SingleStream"),
        *("--param", "execution_provider=cuda"),
    )
    assert absent.returncode == 1
    ((reason,),) = fleet.query("SELECT reason FROM jobs ORDER BY job_id DESC LIMIT 1")
    assert "has no execution provider cuda; it has " in str(reason)


def test_a_sweep_of_an_imported_model_gives_one_table(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "my-classifier.onnx"
    path.write_bytes(
        onnx_graph(
            [Value("x", "float32", ["batch", 3, 8, 8])],
            [Value("y", "float32", ["batch", 3, 8, 8])],
            nodes=[Node("Relu", ["x"], "y")],
        )
    )
    succeeds(fleet, "catalog", "import", str(path))
    sweep = ("--param", "threads=1,2,4", "--param", "batch_size=1,8")
    printed = succeeds(fleet, "schedule", "my-classifier", *JOB, "--scenario", "Offline", *sweep)
    assert "6 jobs on 1 device" in printed
    listing = ("results", "list", "--campaign", "last")
    rows = json.loads(succeeds(fleet, *listing, "--json"))
    points = [json.loads(row["parameters"]) for row in rows]
    assert sorted((point["threads"], point["batch_size"]) for point in points) == [
        (threads, batch_size) for threads in (1, 2, 4) for batch_size in (1, 8)
    ]
    assert all(row["metric_value"] > 0 and row["load_ms"] > 0 for row in rows)
    table = succeeds(fleet, *listing)
    assert all(f"batch_size={size} " in table for size in (1, 8))
    assert all(f"threads={threads}" in table for threads in (1, 2, 4))
    samples = fleet.query(
        "SELECT json_extract(parameters, '$.batch_size'), sample_count FROM runs"
        " WHERE benchmark = 'my-classifier'"
    )
    assert all(int(str(count)) % int(str(size)) == 0 for size, count in samples)
    compared = fleet.run("compare", "last:threads=1", "last:threads=2")
    assert compared.returncode in (0, 1), compared.stderr
