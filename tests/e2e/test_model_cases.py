"""Models that are hard to import, from the file to the result, each generated here.

Each is imported with a trial, or refused by name; what is imported runs in SingleStream and in
Offline on a device.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_files import Node, Value, tflite_graph
from tests.support.processes import Fleet, fleet_in
from tests.support.runnable_models import (
    Op,
    allocating,
    classifier,
    encoder,
    floats,
    identity,
    not_finite,
    onnx_model,
    tagger,
    time_major,
    with_external,
)

pytestmark = pytest.mark.e2e
MIRROR = os.environ.get("FLEETMARK_TEST_MIRROR", "")
BATCH = ["batch", 64]
SQUARES = onnx_model(
    [Op("Mul", ["x", "x"], "y")],
    [Value("x", "float32", [8, 3, 4, 4])],
    [Value("y", "float32", [8, 3, 4, 4])],
)
OPEN_TFLITE = tflite_graph(
    [Value("x", "float32", [None, None])],
    [Value("y", "float32", [None, None])],
    nodes=[Node("ADD", ["x", "x"], "y")],
)
NEWER = onnx_model(
    [Op("MatMul", ["x", "w"], "y")],
    [Value("x", "float32", ["n", 4])],
    [Value("y", "float32", ["n", 4])],
    {"w": floats(4, 4)},
    ir=13,
    opset=26,
)
TOO_NEW = onnx_model(
    [Op("Identity", ["x"], "y")],
    [Value("x", "float32", BATCH)],
    [Value("y", "float32", BATCH)],
    opset=99,
)


@dataclass(frozen=True)
class Case:
    """A model that runs, with the options that its import needs.

    Attributes:
        refusal: part of the error without the options; empty if it needs none.
        says: parts of the output of the import.
        reason: code of a reason about the condition of its runs; empty for any.
    """

    model: bytes
    options: Sequence[str] = ()
    refusal: str = ""
    says: Sequence[str] = ()
    reason: str = ""
    ending: str = "onnx"


CASES = {
    "open-sizes": Case(
        classifier(["batch", 3, "height", "width"]),
        ["--shape", "1x3x32x32"],
        "[batch, 3, height, width] has open dimensions",
        ["[batch, 3, 32, 32]"],
    ),
    "fixed-sizes": Case(classifier(["batch", 3, 32, 32])),
    "open-batch": Case(classifier(["batch", 3, 8, 8]), says=["[batch, 10]"]),
    "two-inputs": Case(
        encoder(),
        ["--shape", "input_ids=1x16"],
        "attention_mask: [batch, sequence] has open dimensions",
        ["random 0 to 999", "ones", "it is a mask by its name"],
    ),
    "hidden-table": Case(
        tagger(),
        ["--input", "tokens=randint:0:999"],
        "which int32 values are valid",
        ["random 0 to 999"],
    ),
    **{
        f"type-{dtype}": Case(identity(dtype, BATCH), options, says=[dtype])
        for dtype, options in {
            "float16": (),
            "float64": (),
            "bool": (),
            "int8": (),
            "int64": ("--input", "randint:-5:5"),
        }.items()
    },
    "fixed-batch": Case(
        SQUARES,
        ["--shape", "8x3x4x4"],
        "the first axis is fixed at 8",
        ["each inference takes 8 samples"],
    ),
    "time-major": Case(time_major()),
    "data-set": Case(
        identity("float32", ["n", 1, 28, 28]),
        ["--input", "dataset/fashion-mnist-1000"],
        says=["dataset/fashion-mnist-1000"],
    ),
    "not-finite": Case(
        not_finite(), says=["output y has NaN or infinite values"], reason="nonfinite_outputs"
    ),
    "newer": Case(NEWER, says=["the model needs onnxruntime"]),
    "open-tflite": Case(
        OPEN_TFLITE,
        ["--shape", "1x160"],
        "has open dimensions",
        ["ai-edge-litert"],
        ending="tflite",
    ),
}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("cases")) as fleet:
        fleet.start_controller(*(["--mirror", MIRROR] if MIRROR else []))
        fleet.start_agent("bench-01")
        yield fleet


def runs_of(fleet: Fleet, name: str) -> list[dict[str, Any]]:
    done = fleet.run("results", "list", "--runs", "--json")
    assert done.returncode == 0, done.stderr
    return [run for run in json.loads(done.stdout) if run["benchmark"] == name]


SLOW = ("fixed-sizes", "open-batch", "type-float64", "type-bool", "type-int8", "type-int64")
"""Cases that differ from others only in a type or a size."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CASES],
)
def test_a_model_runs_from_its_import_to_its_results(
    fleet: Fleet, tmp_path: Path, name: str
) -> None:
    case = CASES[name]
    file = tmp_path / f"{name}.{case.ending}"
    file.write_bytes(case.model)
    if case.refusal:
        refused = fleet.run("catalog", "import", str(file))
        assert refused.returncode == 2, refused.stdout
        assert case.refusal in refused.stderr
    done = fleet.run("catalog", "import", str(file), *case.options)
    assert done.returncode == 0, done.stderr
    is_tried = "not tried" not in done.stdout
    for says in case.says:
        assert says in done.stdout or not is_tried
    scheduled = fleet.run("schedule", name, "--wait")
    assert scheduled.returncode == 0, scheduled.stdout + scheduled.stderr
    runs = runs_of(fleet, name)
    assert {run["scenario"] for run in runs} == {"SingleStream", "Offline"}
    for run in runs:
        assert run["loadgen_validity"] == "VALID"
        assert run["sample_count"] > 0
        reasons = json.loads(run["condition_reasons"] or "[]")
        codes = [reason["code"] for reason in reasons]
        assert not case.reason or case.reason in codes
    if is_tried:
        detail = fleet.run("catalog", "show", f"model/{name}").stdout
        assert "footprint = { peak_memory_bytes = " in detail


@pytest.mark.parametrize(
    ("name", "model", "says"),
    [
        ("bf16", identity("bfloat16", BATCH), "input x: bfloat16 is not supported"),
        ("text", identity("string", BATCH), "input x: string is not supported"),
        ("too-new", TOO_NEW, "opset 99; the newest onnxruntime in the catalog"),
    ],
)
def test_what_no_runtime_can_run_is_refused_by_name(
    fleet: Fleet, tmp_path: Path, name: str, model: bytes, says: str
) -> None:
    (tmp_path / f"{name}.onnx").write_bytes(model)
    done = fleet.run("catalog", "import", str(tmp_path / f"{name}.onnx"))
    assert done.returncode != 0
    assert says in done.stderr
    assert fleet.run("catalog", "show", f"model/{name}").returncode != 0


def test_a_model_that_is_too_large_is_out_of_memory_by_name(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "large.onnx"
    file.write_bytes(allocating(1 << 45))
    done = fleet.run("catalog", "import", str(file))
    if "not tried" not in done.stdout:
        assert done.returncode != 0
        assert "runs out of memory: the trial may use" in done.stderr
        assert "--no-trial" in done.stderr
    done = fleet.run("catalog", "import", str(file), "--no-trial", "--replace")
    assert done.returncode == 0, done.stderr
    scheduled = fleet.run("schedule", "large", "--scenario", "SingleStream", "--wait")
    assert scheduled.returncode != 0
    reasons = json.loads(fleet.run("jobs", "list", "--json").stdout)
    assert any("memory" in str(job["reason"]) for job in reasons if "large" in str(job)), reasons


def test_weights_beside_the_model_run_on_the_device(fleet: Fleet, tmp_path: Path) -> None:
    model, weights = with_external()
    (tmp_path / "beside.onnx").write_bytes(model)
    (tmp_path / "weights.data").write_bytes(weights)
    done = fleet.run("catalog", "import", str(tmp_path / "beside.onnx"))
    assert done.returncode == 0, done.stderr
    scheduled = fleet.run("schedule", "beside", "--wait")
    assert scheduled.returncode == 0, scheduled.stdout + scheduled.stderr
    assert len(runs_of(fleet, "beside")) == 2
