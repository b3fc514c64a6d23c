"""docs/how-to/bring-your-own-model.md as written, with models that this test builds."""

from __future__ import annotations

import json
import os
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fleetmark_catalog.load import BUILTIN
from tests.support import ROOT
from tests.support.model_files import Value
from tests.support.processes import Fleet, fleet_in
from tests.support.runnable_models import (
    Op,
    classifier,
    encoder,
    floats,
    onnx_model,
    sound_classifier,
    tagger,
    text_classifier,
    with_external,
)
from tests.support.sound_files import wave_bytes
from tests.support.tokenizer_files import SPECIAL, word_tokenizer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
MIRROR = os.environ.get("FLEETMARK_TEST_MIRROR", "")
DOCUMENT = (ROOT / "docs" / "how-to" / "bring-your-own-model.md").read_text()
BLOCKS: list[tuple[str, str]] = re.findall(r"```(sh|)\n(.*?)```", DOCUMENT, re.DOTALL)
TFLITE = BUILTIN / "model" / "fashion-mnist-dscnn" / "dscnn_int8.tflite"
DETECTOR = onnx_model(
    [
        Op("GlobalAveragePool", ["images"], "p"),
        Op("Flatten", ["p"], "f"),
        Op("MatMul", ["f", "w"], "y"),
    ],
    [Value("images", "float32", ["batch", 3, "height", "width"])],
    [Value("y", "float32", ["batch", 10])],
    {"w": floats(3, 10)},
)


def write_files(folder: Path) -> None:
    regressor, weights = with_external("my-regressor.onnx.data")
    for name, data in {
        "my-classifier.onnx": classifier(),
        "my-detector.onnx": DETECTOR,
        "my-encoder.onnx": encoder(30522),
        "my-tagger.onnx": tagger(),
        "my-regressor.onnx": regressor,
        "my-regressor.onnx.data": weights,
    }.items():
        (folder / name).write_bytes(data)
    with zipfile.ZipFile(folder / "my-hands.task", "w") as archive:
        archive.writestr("detector.tflite", TFLITE.read_bytes())
        archive.writestr("landmarks.tflite", TFLITE.read_bytes())
    Image.new("RGB", (80, 60), (200, 30, 0)).save(folder / "photo.png")
    ids = np.random.default_rng(1).integers(0, 30522, (4, 64))
    np.savez(folder / "batch.npz", input_ids=ids, attention_mask=np.ones((4, 64), np.int64))
    write_labeled(folder)


def write_labeled(folder: Path) -> None:
    """Write the models and samples of the section about accuracy."""
    for name in ("my-fp32", "my-int8"):
        (folder / f"{name}.onnx").write_bytes(classifier())
    tabular = onnx_model(
        [Op("MatMul", ["x", "w"], "y")],
        [Value("x", "float32", ["n", 4])],
        [Value("y", "float32", ["n", 3])],
        {"w": floats(4, 3)},
    )
    (folder / "my-tabular.onnx").write_bytes(tabular)
    np.savez(folder / "samples.npz", x=np.eye(4, dtype=np.float32), y=np.array([0, 1, 2, 0]))
    np.savez(folder / "outputs.npz", x=np.eye(4, dtype=np.float32), y=np.ones((4, 3)))
    (folder / "pictures").mkdir()
    for number in range(5):
        Image.new("RGB", (20, 10), (50 * number, 90, 0)).save(folder / f"pictures/{number}.png")
    (folder / "labels.csv").write_text("".join(f"{n}.png,kind {n}\n" for n in range(5)))
    (folder / "names.txt").write_text("".join(f"kind {n}\n" for n in range(10)))
    write_sound_and_texts(folder)
    write_masks_texts_and_boxes(folder)


def write_sound_and_texts(folder: Path) -> None:
    """Write the models and samples of the sections about sound and texts."""
    (folder / "my-speech.onnx").write_bytes(sound_classifier(floats(8000, 3)))
    (folder / "sounds").mkdir()
    for number, rate_hz in enumerate((16000, 44100, 8000)):
        sound = wave_bytes(np.zeros(rate_hz, np.int16), rate_hz)
        (folder / f"sounds/{number}.wav").write_bytes(sound)
    (folder / "sounds.csv").write_text("".join(f"{n}.wav,{n}\n" for n in range(3)))
    words = [f"word{n}" for n in range(6)]
    model = text_classifier(floats(len(words) + len(SPECIAL), 4), floats(2, 4), floats(4, 3))
    (folder / "my-sentiment.onnx").write_bytes(model)
    (folder / "tokenizer.json").write_text(word_tokenizer(words))
    (folder / "texts.csv").write_text("text,label\nword1 word2,2\nword5,0\n")
    tokens = np.ones((2, 8), np.int64)
    np.savez(
        folder / "tokens.npz",
        input_ids=tokens,
        attention_mask=tokens,
        token_type_ids=0 * tokens,
        y=np.array([0, 2]),
    )


def write_masks_texts_and_boxes(folder: Path) -> None:
    """Write the models and labels of the sections about classes of positions to boxes."""
    for name, axes in (("my-segmenter", (3, 8, 8)), ("my-recognizer", (6, 4))):
        ends = [Value(end, "float32", ["n", *axes]) for end in "xy"]
        (folder / f"{name}.onnx").write_bytes(
            onnx_model([Op("Relu", ["x"], "y")], *([e] for e in ends))
        )
    boxes = onnx_model(
        [
            Op("GlobalAveragePool", ["images"], "p"),
            Op("Flatten", ["p"], "f"),
            Op("MatMul", ["f", "w"], "r"),
            Op("Reshape", ["r", "s"], "y"),
        ],
        [Value("images", "float32", ["n", 3, 32, 32])],
        [Value("y", "float32", ["n", 2, 6])],
        {"w": floats(3, 12), "s": np.array([-1, 2, 6])},
    )
    (folder / "my-boxes.onnx").write_bytes(boxes)
    (folder / "masks").mkdir()
    for number in range(5):
        Image.new("L", (20, 10), number % 3).save(folder / f"masks/{number}.png")
    np.savez(folder / "speech.npz", x=np.ones((2, 6, 4), np.float32))
    (folder / "transcripts.txt").write_text("a b\nb\n")
    (folder / "tokens.txt").write_text("<blank>\na\nb\n|\n")
    document = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(5)],
        "categories": [{"id": 1, "name": "kind 0"}],
        "annotations": [{"image_id": 0, "category_id": 1, "bbox": [2, 2, 9, 5]}],
    }
    (folder / "boxes.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("models")) as fleet:
        fleet.start_controller(*(["--mirror", MIRROR] if MIRROR else []))
        fleet.start_agent("bench-01")
        yield fleet


def test_the_document(fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)
    refused = fleet.run("catalog", "import", "my-detector.onnx")
    assert refused.returncode == 2
    shown, message = (text.strip() for kind, text in BLOCKS if not kind)
    assert refused.stderr.strip().endswith(message)
    lines = [line for kind, text in BLOCKS if kind for line in text.splitlines()]
    assert len(lines) == 24
    printed = {}
    for line in lines:
        done = fleet.run(*shlex.split(line)[1:])
        assert done.returncode == 0, (line, done.stderr)
        printed[line] = done.stdout
    first = printed["controller catalog import my-classifier.onnx"]
    figures = re.compile(r"[0-9.]+ (ms|MB)")
    for line in shown.splitlines():
        wanted = figures.sub("_", line).partition(" opened")[0]
        assert "not tried" in first or wanted.partition(" 1.")[0] in first
    text = "\n".join(printed.values())
    assert "random 0 to 30521" in text
    assert "from a file, 1 sample" in text
    assert "note: each sample has 8,000 values: 0.5 s of sound at 16,000 Hz" in text
    assert "from a file, 4 samples" in text
    assert re.search(r"version +1\.2\n", printed["controller catalog show model/my-detector"])
    left = json.loads(fleet.run("catalog", "list", "model", "--json").stdout)
    own = {component["name"] for component in left if component["name"].startswith("my-")}
    assert own == {
        *("my-classifier", "my-encoder", "my-tagger", "my-regressor", "my-hands-detector"),
        *("my-photo", "my-text", "my-large", "my-fp32", "my-int8", "my-tabular"),
        *("my-regression", "my-speech", "my-sentiment", "my-tokens"),
        *("my-segmenter", "my-recognizer", "my-boxes"),
    }


@pytest.mark.parametrize("name", ["my-classifier", "my-text", "my-photo", "my-regressor"])
def test_the_models_of_the_document_run(fleet: Fleet, name: str) -> None:
    """Jobs of models with random values, values of files, a picture, and weights beside them."""
    done = fleet.run("schedule", name, "--wait", "--json")
    jobs = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert jobs
