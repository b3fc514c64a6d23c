"""Accuracy of imported models on samples with labels, against bare sessions of a runtime."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fleetmark_catalog.load import BUILTIN
from tests.support.model_files import Value
from tests.support.processes import Fleet, fleet_in
from tests.support.runnable_models import Op, onnx_model

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
MIRROR = os.environ.get("FLEETMARK_TEST_MIRROR", "")
TFLITE = BUILTIN / "model" / "fashion-mnist-dscnn" / "dscnn_int8.tflite"
FASHION = BUILTIN / "dataset" / "fashion-mnist-1000" / "fmnist_test_1000.npz"
MEAN, SCALE = (120.0, 110.0, 100.0), (0.02, 0.018, 0.015)
STEPS = "resize=8,mean=120:110:100,scale=0.02:0.018:0.015,color=bgr,layout=nchw"
CLASSES = 6
_SESSION = """
import sys; sys.path.insert(0, sys.argv[1])
import numpy as np
values = np.load(sys.argv[3])
if sys.argv[2].endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[2], providers=["CPUExecutionProvider"])
    outputs = [session.run(None, {"x": row[None]})[0][0] for row in values]
else:
    from ai_edge_litert.interpreter import Interpreter
    one = Interpreter(sys.argv[2]); one.allocate_tensors()
    given, made = one.get_input_details()[0], one.get_output_details()[0]
    scale, zero = given["quantization"]
    outputs = []
    for row in values:
        row = np.clip(np.rint(row / np.float32(scale)) + zero, -128, 127).astype(np.int8)
        one.set_tensor(given["index"], row[None]); one.invoke()
        outputs.append(one.get_tensor(made["index"])[0])
np.save(sys.argv[4], np.array(outputs, np.float64))
"""
Array = npt.NDArray[Any]


def linear(weights: Array) -> bytes:
    """Return a classifier of the mean color of a picture."""
    return onnx_model(
        [
            Op("GlobalAveragePool", ["x"], "p"),
            Op("Flatten", ["p"], "f"),
            Op("MatMul", ["f", "w"], "y"),
        ],
        [Value("x", "float32", ["batch", 3, 8, 8])],
        [Value("y", "float32", ["batch", CLASSES])],
        {"w": weights.astype(np.float32)},
    )


def bare_outputs(fleet: Fleet, module: str, model: Path, values: Array) -> Array:
    """Return the outputs of a session without harness, in the environment of a job."""
    found = next(fleet.folder.glob(f"bench-01/**/{module}/__init__.py"))
    given, made = model.with_suffix(".in.npy"), model.with_suffix(".out.npy")
    np.save(given, values)
    subprocess.run(
        [sys.executable, "-c", _SESSION, str(found.parents[1]), str(model), str(given), str(made)],
        check=True,
    )
    outputs: Array = np.load(made)
    return outputs


def top(outputs: Array, labels: Array, best: int = 1) -> float:
    """Return the share of samples with fewer than `best` classes above that of the label."""
    rows = np.arange(len(labels))
    own = outputs[rows, labels][:, None]
    places = np.arange(outputs.shape[1])[None, :]
    above = (outputs > own) | ((outputs == own) & (places < labels[:, None]))
    return float(np.mean(above.sum(axis=1) < best))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("labels")) as fleet:
        fleet.start_controller(*(["--mirror", MIRROR] if MIRROR else []))
        fleet.start_agent("bench-01")
        yield fleet


def done(fleet: Fleet, *arguments: str) -> str:
    found = fleet.run(*arguments, timeout_s=600)
    assert found.returncode == 0, (arguments, found.stderr)
    return found.stdout


def results(fleet: Fleet, benchmark: str) -> list[Mapping[str, Any]]:
    rows = json.loads(done(fleet, "results", "list", "--json"))
    return [row for row in rows if row["benchmark"] == benchmark]


def write_pictures(folder: Path) -> tuple[Array, Array]:
    """Write 60 pictures with labels; return the values of the model's input and the labels."""
    draw = np.random.default_rng(5)
    (folder / "pictures").mkdir()
    values, labels, lines = [], [], ["file,class"]
    for number in range(60):
        pixels = draw.integers(0, 256, (20, 24, 3)) // 3 + draw.integers(0, 170, 3)
        picture = Image.fromarray(pixels.astype(np.uint8))
        label = int(draw.integers(0, CLASSES))
        picture.save(folder / "pictures" / f"{number:02}.png")
        lines.append(f"{number:02}.png,kind-{label}")
        resized = np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR), np.float32)
        value = (resized[..., ::-1] - np.array(MEAN, np.float32)) * np.array(SCALE, np.float32)
        values.append(value.transpose(2, 0, 1))
        labels.append(label)
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    (folder / "names.txt").write_text("".join(f"kind-{n}\n" for n in range(CLASSES)))
    return np.array(values), np.array(labels)


@pytest.mark.slow
def test_two_variants_of_a_model_have_the_accuracy_of_a_bare_session(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    values, labels = write_pictures(tmp_path)
    weights = np.random.default_rng(2).normal(size=(3, CLASSES))
    for name, own in {"own-fp32": weights, "own-damaged": np.round(weights[:, ::-1])}.items():
        Path(f"{name}.onnx").write_bytes(linear(own))
        shown = done(
            fleet,
            *("catalog", "import", f"{name}.onnx", "--dataset", "pictures"),
            *("--labels", "labels.csv", "--classes", "names.txt", "--preprocess", STEPS),
        )
        assert "from a file, 60 samples" in shown
    found, sides = {}, []
    for name in ("own-fp32", "own-damaged"):
        done(fleet, "schedule", name, "--repeat", "4", "--wait")
        wanted = top(bare_outputs(fleet, "onnxruntime", Path(f"{name}.onnx"), values), labels)
        rows = results(fleet, name)
        assert rows
        for row in rows:
            assert (row["accuracy_metric"], row["accuracy"]) == ("top-1", pytest.approx(wanted))
        found[name] = wanted
        sides.append(f"{rows[0]['campaign_id']}:benchmark={name}")
    assert found["own-fp32"] != found["own-damaged"]
    compared = json.loads(done(fleet, "compare", *sides, "--json"))
    assert compared
    for verdict in compared:
        assert verdict["accuracy_a"] == pytest.approx(found["own-fp32"])
        assert verdict["accuracy_b"] == pytest.approx(found["own-damaged"])
    assert "accuracy" in done(fleet, "results", "list")


def test_top_k_of_a_quantized_tflite_model(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(FASHION) as archive:
        pixels, labels = archive["x"][:150], archive["y"][:150].astype(np.int64)
    np.savez(tmp_path / "samples.npz", x=pixels, y=labels)
    Path("own-int8.tflite").write_bytes(TFLITE.read_bytes())
    values = pixels.astype(np.float32).reshape(-1, 28, 28, 1) / np.float32(255)
    wanted = {}
    for metric in ("top-1", "top-2"):
        done(
            fleet,
            *("catalog", "import", "own-int8.tflite", "--name", f"own-{metric}"),
            *("--dataset", "samples.npz", "--metric", metric),
        )
        done(fleet, "schedule", f"own-{metric}", "--wait")
        outputs = bare_outputs(fleet, "ai_edge_litert", Path("own-int8.tflite"), values)
        wanted[metric] = top(outputs, labels, int(metric[-1]))
        rows = results(fleet, f"own-{metric}")
        assert {row["scenario"] for row in rows} == {"SingleStream", "Offline"}
        for row in rows:
            assert (row["accuracy_metric"], row["accuracy"]) == (
                metric,
                pytest.approx(wanted[metric]),
            )
    assert wanted["top-1"] < wanted["top-2"]


def rectified(*sizes: int) -> bytes:
    """Return a model whose output is its input, if that is not negative."""
    axes = ["batch", *sizes]
    return onnx_model(
        [Op("Relu", ["x"], "y")], [Value("x", "float32", axes)], [Value("y", "float32", axes)]
    )


def write_scores(folder: Path) -> dict[str, tuple[bytes, tuple[str, ...], float]]:
    """Write samples that are scores; return model, options and value of each metric."""
    draw = np.random.default_rng(7)
    labels = draw.integers(-1, 4, (20, 5, 6))
    scores = draw.random((20, 4, 5, 6)).astype(np.float32)
    np.savez(folder / "maps.npz", x=scores, y=labels)
    found, counted = scores.argmax(axis=1), labels >= 0
    both = [np.sum((found == one) & (labels == one)) for one in range(4)]
    sums = [np.sum((found == one) & counted) + np.sum(labels == one) for one in range(4)]
    pairs = list(zip(both, sums, strict=True))
    maps = ("--dataset", "maps.npz")
    model = rectified(4, 5, 6)
    made = {
        "f1": (model, maps, float(np.mean([2 * hits / size for hits, size in pairs]))),
        "miou": (model, maps, float(np.mean([hits / (size - hits) for hits, size in pairs]))),
        "top-1": (model, maps, float(np.sum(both) / np.sum(counted))),
    }
    # Five steps of the tokens blank, a, b and space.
    tokens = np.array([[1, 1, 0, 1, 0], [1, 3, 2, 2, 0], [0, 0, 0, 0, 0]])
    np.savez(folder / "steps.npz", x=np.eye(4, dtype=np.float32)[tokens])
    (folder / "texts.txt").write_text("aa\na a\nb\n")
    (folder / "tokens.txt").write_text("<blank>\na\nb\n|\n")
    texts = ("--dataset", "steps.npz", "--labels", "texts.txt", "--classes", "tokens.txt")
    made["wer"] = (rectified(5, 4), texts, 2 / 4)
    made["cer"] = (rectified(5, 4), texts, 2 / 6)
    # One box is found, one is found by half, one is missed, and one is wrong.
    boxes = np.array([[[0, 0, 0, 10, 10], [1, 0, 0, 10, 10]], [[0, 5, 5, 9, 9], [-1] * 5]])
    rows = np.zeros((2, 3, 6), np.float32)
    rows[0, :2] = [[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 7, 0.8, 1]]
    rows[1, 0] = [0, 0, 2, 2, 0.7, 0]
    np.savez(folder / "boxes.npz", x=rows, y=boxes.astype(np.float32))
    # Class 0 has the recall 1/2; class 1 is found up to an IoU of 0.7.
    half = 51 / 101
    made["map"] = (rectified(3, 6), ("--dataset", "boxes.npz"), (half + 5 / 10) / 2)
    made["map50"] = (rectified(3, 6), ("--dataset", "boxes.npz"), (half + 1) / 2)
    return made


@pytest.mark.slow
def test_metrics_of_positions_transcripts_and_boxes(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = write_scores(tmp_path)
    for metric, (model, options, _) in made.items():
        Path("scores.onnx").write_bytes(model)
        shown = done(
            fleet,
            *("catalog", "import", "scores.onnx", "--name", f"scores-{metric}", "--no-trial"),
            *(*options, "--metric", metric),
        )
        assert ("boxes are output y as xyxy in pixels" in shown) is metric.startswith("map")
    for metric, (_, _, wanted) in made.items():
        done(fleet, "schedule", f"scores-{metric}", "--wait")
        rows = results(fleet, f"scores-{metric}")
        assert {row["scenario"] for row in rows} == {"SingleStream", "Offline"}
        for row in rows:
            assert (row["accuracy_metric"], row["accuracy"]) == (metric, pytest.approx(wanted))
            assert row["metric_value"] > 0
    reasons = fleet.query("SELECT condition_reasons FROM runs WHERE mode = 'accuracy'")
    assert not any("accuracy_claim" in str(row) for row in reasons)


def test_whole_outputs_of_a_regression(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(9)
    values = draw.normal(size=(37, 3, 8, 8)).astype(np.float32)
    weights = draw.normal(size=(3, CLASSES))
    means = values.astype(np.float64).mean(axis=(2, 3))
    wanted = (means @ weights).astype(np.float32)
    np.savez("samples.npz", x=values, y=wanted)
    # The exact model has no error, so that its other metric shows nothing more.
    for name, own, metrics in (
        ("exact", weights, ("mae",)),
        ("damaged", np.round(weights), ("mae", "cosine")),
    ):
        Path(f"{name}.onnx").write_bytes(linear(own))
        for metric in metrics:
            called = f"own-{name}-{metric}"
            done(
                fleet,
                *("catalog", "import", f"{name}.onnx", "--name", called),
                *("--dataset", "samples.npz", "--metric", metric),
            )
            done(fleet, "schedule", called, "--wait")
            outputs = bare_outputs(fleet, "onnxruntime", Path(f"{name}.onnx"), values)
            if metric == "mae":
                figure = float(np.mean(np.abs(outputs - wanted)))
            else:
                lengths = np.sqrt((outputs**2).sum(1) * (wanted.astype(float) ** 2).sum(1))
                figure = float(np.mean((outputs * wanted).sum(1) / lengths))
            rows = results(fleet, called)
            assert {row["scenario"] for row in rows} == {"SingleStream", "Offline"}
            for row in rows:
                assert row["accuracy_metric"] == metric
                assert row["accuracy"] == pytest.approx(figure, rel=1e-4, abs=1e-6)
            assert (figure < 1e-5) == ((name, metric) == ("exact", "mae"))
    assert " mae" in done(fleet, "results", "list")
    reasons = fleet.query("SELECT condition_reasons FROM runs WHERE mode = 'accuracy'")
    assert not any("accuracy_claim" in str(row) for row in reasons)
