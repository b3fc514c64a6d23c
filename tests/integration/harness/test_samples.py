"""How samples are read and generated, and how boxes are distinguished."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fleetmark_controller.evaluation.accuracy import load_labels
from fleetmark_controller.loadgen.errors import IngestError
from fleetmark_harness.boxes import anchors, suppress
from fleetmark_harness.data import read_labeled
from fleetmark_harness.exit_codes import BAD_INPUT, JobError
from fleetmark_harness.tensors import RandomTensors


def records(count: int) -> bytes:
    generator = np.random.default_rng(1)
    pixels = generator.integers(0, 256, (count, 3, 32, 32), np.uint8)
    return b"".join(bytes([number % 10]) + pixels[number].tobytes() for number in range(count))


def test_cifars_records(tmp_path: Path) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(records(12))
    dataset = {"layout": "cifar", "samples": 12, "shape": [32, 32, 3]}
    found = read_labeled(dataset, path)
    assert found.labels.tolist() == [number % 10 for number in range(12)]
    raw = np.frombuffer(path.read_bytes(), np.uint8).reshape(12, 3073)
    # The red plane comes first; the second pixel of the first row of the last image.
    assert found.values[11, 0, 1].tolist() == [raw[11, 2], raw[11, 1026], raw[11, 2050]]
    # The controller reads the same labels from the same file.
    assert load_labels(path, "y", "cifar").tolist() == found.labels.tolist()


@pytest.mark.parametrize("data", [b"", records(2)[:-1], records(3)])
def test_other_records_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(data)
    with pytest.raises(JobError) as caught:
        read_labeled({"layout": "cifar", "samples": 2, "shape": [32, 32, 3]}, path)
    assert caught.value.code == BAD_INPUT
    if len(data) % 3073:
        with pytest.raises(IngestError, match="records of 3073 bytes"):
            load_labels(path, "y", "cifar")


def pictures(path: Path, sizes: list[tuple[int, int]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number, size in enumerate(sizes):
            data = io.BytesIO()
            picture = Image.new("RGB", size, (0, 0, 0))
            picture.paste((10 * number, 200, 0), (size[0] // 4, size[1] // 4, *size))
            picture.save(data, "PNG")
            archive.writestr(f"{number:02}.png", data.getvalue())
        labels = io.BytesIO()
        np.lib.format.write_array(labels, np.arange(len(sizes)) + 7)
        archive.writestr("y.npy", labels.getvalue())
    return path


def test_pictures_are_brought_to_the_models_size(tmp_path: Path) -> None:
    path = pictures(tmp_path / "p.zip", [(64, 64), (300, 100), (100, 300), (32, 32)])
    dataset = {"layout": "pictures", "samples": 4, "labels": "y", "shape": [32, 32, 3]}
    found = read_labeled(dataset, path, None, [32, 32, 3])
    assert found.values.shape == (4, 32, 32, 3)
    assert found.labels.tolist() == [7, 8, 9, 10]
    assert found.values[:, 31, 31, 1].tolist() == [200] * 4
    # One that has the size already is taken as it is.
    assert found.values[3, 7, 7].tolist() == [0, 0, 0]
    assert found.values[3, 8, 8].tolist() == [30, 200, 0]
    assert load_labels(path).tolist() == found.labels.tolist()


def test_what_is_no_picture_is_a_bad_input(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("00.png", b"no picture")
    with pytest.raises(JobError) as caught:
        read_labeled({"layout": "pictures", "samples": 1, "labels": "y"}, path, None, [8, 8, 3])
    assert caught.value.code == BAD_INPUT


def random_tensors(
    dtype: str, shape: tuple[int, ...], tensor: dict[str, Any], batch_size: int = 1
) -> RandomTensors:
    tables = {"dataset": {"samples": 20, "seed": 3}, "model": {"input": tensor}}
    job: Any = SimpleNamespace(table=tables.__getitem__)
    adapter: Any = SimpleNamespace(run=None, input_shape=shape, dtype=np.dtype(dtype))
    return RandomTensors(job, adapter, batch_size)


@pytest.mark.parametrize(
    ("dtype", "tensor", "low", "high"),
    [
        ("float32", {}, 0.0, 1.0),
        ("float32", {"range": [-1, 1]}, -1.0, 1.0),
        ("int32", {"dtype": "int32", "range": [0, 256]}, 0, 256),
        # A quantised model: the range is that of real values, the tensor takes all it can hold.
        ("int8", {"range": [0, 1]}, -128, 127),
        ("uint8", {}, 0, 255),
    ],
)
def test_random_samples_fit_the_signature(
    dtype: str, tensor: dict[str, Any], low: float, high: float
) -> None:
    made = random_tensors(dtype, (40, 30), tensor)
    samples = made.prepare(np.arange(20))
    assert samples.dtype == dtype
    assert samples.shape == (20, 40, 30)
    assert low <= samples.min() <= low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) <= samples.max() <= high
    # A sample is the same whichever others are loaded with it.
    assert (made.prepare(np.array([7, 3]))[1] == samples[3]).all()
    assert (samples[3] != samples[4]).any()


def test_an_unknown_shape_is_a_bad_input() -> None:
    assert random_tensors("float32", (0,), {"shape": [576]}).prepare(np.arange(1)).shape == (1, 576)
    with pytest.raises(JobError, match="defines the shape of the input"):
        random_tensors("float32", (0,), {})


def test_anchors_lie_in_the_order_of_the_models_output() -> None:
    found = anchors(128, [8, 16], [2, 6])
    assert found.shape == (896, 2)
    assert found[0].tolist() == found[1].tolist() == [4 / 128, 4 / 128]
    assert found[2].tolist() == [12 / 128, 4 / 128]
    assert found[32].tolist() == [4 / 128, 12 / 128]
    assert found[512].tolist() == found[517].tolist() == [8 / 128, 8 / 128]
    assert found[-1].tolist() == [120 / 128, 120 / 128]


def test_boxes_of_the_same_object_are_suppressed() -> None:
    boxes = np.array(
        [[0, 0, 1, 1], [0.1, 0, 1.1, 1], [2, 2, 3, 3], [0.6, 0, 1.6, 1], [0, 0, 1, 1]], np.float32
    )
    scores = np.array([0.8, 0.9, 0.7, 0.6, 0.5], np.float32)
    assert suppress(boxes, scores, 0.3, 100) == [1, 2]
    assert suppress(boxes, scores, 0.95, 100) == [1, 0, 2, 3]
    assert suppress(boxes, scores, 0.3, 1) == [1]
    assert suppress(boxes[:0], scores[:0], 0.3, 100) == []
