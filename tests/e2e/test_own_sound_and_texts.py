"""Models with labeled sound and texts: imports, jobs, and the accuracy that NumPy computes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import resample_poly

from tests.support.processes import Fleet, fleet_in
from tests.support.runnable_models import sound_classifier, text_classifier
from tests.support.sound_files import wave_bytes
from tests.support.tokenizer_files import SPECIAL, word_tokenizer

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]
MIRROR = os.environ.get("FLEETMARK_TEST_MIRROR", "")
Array = npt.NDArray[Any]
RATE_HZ, SAMPLES, LENGTH = 16000, 4000, 12
WORDS = [f"word{number}" for number in range(40)]
CLASSES = 4


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("media")) as fleet:
        fleet.start_controller(*(["--mirror", MIRROR] if MIRROR else []))
        fleet.start_agent("bench-01")
        yield fleet


def imported(fleet: Fleet, *arguments: str) -> Mapping[str, Any]:
    found = fleet.run("catalog", *arguments, "--json", timeout_s=600)
    assert found.returncode == 0, found.stderr
    reply: Mapping[str, Any] = json.loads(found.stdout)
    assert reply["trial"]["not_tried"] or reply["trial"]["runtime"] == "onnxruntime"
    return reply


def accuracies(fleet: Fleet, benchmark: str) -> list[float]:
    """Run a benchmark, and return the accuracy of each of its new runs."""
    earlier = {row["performance_run_id"] for row in results(fleet)}
    done = fleet.run("schedule", benchmark, "--wait", timeout_s=600)
    assert done.returncode == 0, done.stderr
    rows = [row for row in results(fleet) if row["performance_run_id"] not in earlier]
    assert {row["benchmark"] for row in rows} == {benchmark}
    assert {row["scenario"] for row in rows} == {"SingleStream", "Offline"}
    return [row["accuracy"] for row in rows]


def results(fleet: Fleet) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = json.loads(fleet.run("results", "list", "--json").stdout)
    return rows


def share(outputs: Array, labels: Sequence[int]) -> float:
    """Return the share of samples whose highest output is that of the label."""
    return float(np.mean(outputs.argmax(axis=1) == np.array(labels)))


def some_labels(outputs: Array) -> list[int]:
    """Return the classes that a model finds, with about a third of them changed."""
    draw = np.random.default_rng(len(outputs))
    changed = draw.random(len(outputs)) < 0.3
    labels = np.where(changed, draw.integers(0, CLASSES, len(outputs)), outputs.argmax(axis=1))
    assert 0.4 < share(outputs, labels.tolist()) < 1
    return [int(label) for label in labels]


def write_sounds(folder: Path, weights: Array) -> float:
    """Write 40 files of several rates, lengths and formats; return the share of right labels."""
    draw = np.random.default_rng(3)
    (folder / "sounds").mkdir()
    values = np.zeros((40, SAMPLES))
    for number, value in enumerate(values):
        rate_hz = (RATE_HZ, 44100, 8000, 22050)[number % 4]
        count = int(rate_hz * SAMPLES / RATE_HZ * draw.uniform(0.5, 1.5))
        raw = draw.uniform(-0.5, 0.5, (count, 1 + number % 2))
        samples = (raw * 32767).astype(np.int16) if number % 3 else raw.astype(np.float32)
        (folder / "sounds" / f"{number:02}.wav").write_bytes(wave_bytes(samples, rate_hz))
        mono = (samples.astype(np.float64) / (32768 if number % 3 else 1)).mean(axis=1)
        step = np.gcd(rate_hz, RATE_HZ)
        made = resample_poly(mono, RATE_HZ // step, rate_hz // step) if number % 4 else mono
        value[: len(made)] = made[:SAMPLES]
    outputs = values @ weights
    labels = some_labels(outputs)
    lines = [f"{number:02}.wav,{label}" for number, label in enumerate(labels)]
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return share(outputs, labels)


def test_sound_has_the_accuracy_that_numpy_computes(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = np.random.default_rng(1).normal(size=(SAMPLES, CLASSES)).astype(np.float32)
    wanted = write_sounds(tmp_path, weights)
    Path("own-sound.onnx").write_bytes(sound_classifier(weights))
    reply = imported(
        fleet,
        *("import", "own-sound.onnx", "--dataset", "sounds", "--labels", "labels.csv"),
        *("--preprocess", f"rate={RATE_HZ},seconds=0.25"),
    )
    assert "30 of 40 files have another rate, and are resampled" in reply["notes"]
    (given,) = reply["inputs"]
    assert (given["shape"], given["values"]) == ([1, 1, SAMPLES], "from a file, 40 samples")
    for accuracy in accuracies(fleet, "own-sound"):
        assert accuracy == pytest.approx(wanted)


def write_texts(folder: Path, labels: Sequence[int], pairs: Sequence[tuple[str, str]]) -> None:
    lines = [
        f"{first},{second},{label}" for (first, second), label in zip(pairs, labels, strict=True)
    ]
    (folder / "texts.csv").write_text("text,text2,label\n" + "\n".join(lines) + "\n")
    (folder / "tokenizer.json").write_text(word_tokenizer(WORDS))


def outputs_of(
    pairs: Sequence[tuple[str, str]], table: Array, types: Array, weights: Array
) -> Array:
    """Return what the model computes, from the words."""
    sums = []
    for first, second in pairs:
        rows = [(2, 0), *((WORDS.index(word) + len(SPECIAL), 0) for word in first.split()), (3, 0)]
        rows += [*((WORDS.index(word) + len(SPECIAL), 1) for word in second.split()), (3, 1)]
        assert len(rows) <= LENGTH
        sums.append(sum(table[token] + types[kind] for token, kind in rows))
    return np.array(sums) @ weights


def test_texts_have_the_accuracy_that_numpy_computes(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after `catalog update`, which keeps the texts, and after `--replace` with others."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(4)
    table = draw.normal(size=(len(SPECIAL) + len(WORDS), 8))
    types, weights = draw.normal(size=(2, 8)), draw.normal(size=(8, CLASSES))
    pairs = [
        (" ".join(draw.choice(WORDS, 1 + n % 5)), " ".join(draw.choice(WORDS, 1 + n % 4)))
        for n in range(50)
    ]
    outputs = outputs_of(pairs, table, types, weights)
    labels = some_labels(outputs)
    write_texts(tmp_path, labels, pairs)
    steps = ("--preprocess", f"tokenizer=tokenizer.json,max_length={LENGTH}")
    Path("own-text.onnx").write_bytes(text_classifier(table, types, weights))
    reply = imported(fleet, "import", "own-text.onnx", "--dataset", "texts.csv", *steps)
    assert [given["values"] for given in reply["inputs"]] == ["from a file, 50 samples"] * 3
    for accuracy in accuracies(fleet, "own-text"):
        assert accuracy == pytest.approx(share(outputs, labels))
    # The padding and the types count: without them, the accuracy would be another one.
    blind = outputs_of(pairs, table, 0 * types, weights)
    assert share(blind, labels) != share(outputs, labels)

    others = draw.normal(size=(8, CLASSES))
    Path("own-text.onnx").write_bytes(text_classifier(table, types, others, LENGTH, "int32"))
    says = fleet.run("catalog", "update", "own-text", "own-text.onnx")
    assert (says.returncode, "its array is int64" in says.stderr) == (2, True), says.stderr
    Path("own-text.onnx").write_bytes(text_classifier(table, types, others))
    assert imported(fleet, "update", "own-text", "own-text.onnx")["version"] == "1.1"
    updated = share(outputs_of(pairs, table, types, others), labels)
    assert updated != share(outputs, labels)
    for accuracy in accuracies(fleet, "own-text"):
        assert accuracy == pytest.approx(updated)

    Path("own-text.onnx").write_bytes(text_classifier(table, types, weights, LENGTH, "int32"))
    write_texts(tmp_path, labels[:20], pairs[:20])
    reply = imported(
        fleet, "import", "own-text.onnx", "--dataset", "texts.csv", *steps, "--replace"
    )
    assert [given["values"] for given in reply["inputs"]] == ["from a file, 20 samples"] * 3
    for accuracy in accuracies(fleet, "own-text"):
        assert accuracy == pytest.approx(share(outputs[:20], labels[:20]))
