"""map and map50, from LoadGen's log and labeled boxes."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fleetmark_controller.evaluation.metrics.detection import (
    MAX_BOXES,
    MAX_DETECTIONS,
    check_boxes,
    load_boxes,
    mean_precision,
    overlaps,
)
from fleetmark_controller.evaluation.recomputation import Recomputed, Reference, recompute
from fleetmark_controller.loadgen.errors import IngestError
from tests.unit.controller.test_class_metrics import log_of

Array = npt.NDArray[Any]
SAMPLES = 7
# The values that pycocotools 2.0 gave for `case(seed)`: AP at 0.50:0.95, and AP at 0.50.
PYCOCOTOOLS = {
    0: (0.25562075559268116, 0.34224272262229943),
    1: (0.09741615555354433, 0.1373870145635253),
    2: (0.12946907099134822, 0.15077863555586327),
    3: (0.04665841584158416, 0.06592409240924094),
    4: (0.3716156614211122, 0.567715930348241),
    5: (0.08878674566877875, 0.14639983831209868),
    6: (0.07629458211787096, 0.1155472068946025),
    7: (0.061847792159208055, 0.08473253999608107),
    8: (0.344087633027028, 0.48045149591031616),
    9: (0.16243094056718246, 0.17551777913676173),
    10: (0.042191766921052996, 0.10271777177717768),
    11: (0.15701352627196916, 0.24811671956669348),
}


def case(seed: int) -> tuple[Array, Array]:
    """Return answers [7, 100, 6] and labels [7, 9, 6], with crowds, ties and missing classes."""
    draw = np.random.default_rng(seed)
    classes, is_whole = 1 + seed % 4, seed % 3 == 0
    labels = np.full((SAMPLES, 9, 6), -1.0)
    answers = np.zeros((SAMPLES, MAX_DETECTIONS, 6), np.float32)
    answers[..., 1] = -1
    labels[..., 5] = 0
    for sample in range(SAMPLES):
        boxes = []
        for place in range(draw.integers(0, 10)):
            low, size = draw.uniform(0, 60, 2), draw.uniform(2, 40, 2)
            box = np.concatenate([low, low + size])
            box = np.rint(box) if is_whole else box.astype(np.float32).astype(float)
            boxes.append(box)
            crowd = draw.random() < 0.15
            labels[sample, place] = [draw.integers(0, classes), *box, crowd]
        used = draw.permutation(MAX_DETECTIONS)[: draw.integers(0, 40)]
        for place in np.sort(used):
            near = boxes[draw.integers(0, len(boxes))] if boxes and draw.random() < 0.8 else None
            low, size = draw.uniform(0, 60, 2), draw.uniform(2, 40, 2)
            box = np.concatenate([low, low + size]) if near is None else near.copy()
            box += draw.normal(0, 1.5, 4) * (draw.random() < 0.7)
            box[2:] = np.maximum(box[:2] + 1, box[2:])
            box = np.rint(box) if is_whole else box
            score = np.round(draw.random(), 1 if seed % 2 else 6)
            answers[sample, place] = [score, draw.integers(0, classes + 1), *box]
    if not ((labels[..., 0] >= 0) & (labels[..., 5] == 0)).any():
        labels[0, 0] = [0, 1, 1, 5, 5, 0]
    return answers, labels


def coco_values(answers: Array, labels: Array) -> tuple[float, float]:
    """Return AP and AP50 of pycocotools."""
    coco, evaluation = (
        pytest.importorskip("pycocotools.coco"),
        pytest.importorskip("pycocotools.cocoeval"),
    )
    truth, found = coco.COCO(), []
    annotations = []
    for sample, row in enumerate(labels):
        for number, x1, y1, x2, y2, crowd in row[row[:, 0] >= 0].tolist():
            box, size = [x1, y1, x2 - x1, y2 - y1], (x2 - x1) * (y2 - y1)
            common = {"id": len(annotations) + 1, "image_id": sample, "iscrowd": int(crowd)}
            annotations.append({**common, "category_id": int(number), "bbox": box, "area": size})
        for score, number, x1, y1, x2, y2 in answers[sample].astype(float).tolist():
            if number >= 0:
                box = [x1, y1, x2 - x1, y2 - y1]
                one = {"image_id": sample, "category_id": int(number), "bbox": box}
                found.append({**one, "score": score})
    truth.dataset = {
        "info": {},
        "images": [{"id": sample} for sample in range(len(labels))],
        "annotations": annotations,
        "categories": [{"id": number} for number in range(10)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        if not found:
            return 0.0, 0.0
        made = evaluation.COCOeval(truth, truth.loadRes(found), "bbox")
        made.evaluate()
        made.accumulate()
        made.summarize()
    return float(made.stats[0]), float(made.stats[1])


def measured(folder: Path, metric: str, answers: Array, labels: Array) -> Recomputed:
    np.savez(folder / "values.npz", y=labels)
    reference = Reference(folder / "values.npz", "y", "tensors")
    return recompute(metric, log_of(folder, answers, range(len(answers))), reference)


@pytest.mark.parametrize("seed", PYCOCOTOOLS)
def test_precisions_are_those_of_pycocotools(tmp_path: Path, seed: int) -> None:
    answers, labels = case(seed)
    for metric, value in zip(("map", "map50"), PYCOCOTOOLS[seed], strict=True):
        found = measured(tmp_path, metric, answers, labels)
        assert found.value == pytest.approx(value, abs=1e-12)
        assert (found.total, found.complete) == (SAMPLES, True)


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_precisions_are_those_of_the_installed_pycocotools(first: int) -> None:
    for seed in range(first, first + 20):
        answers, labels = case(seed)
        wanted = coco_values(answers, labels)
        for value, limits in zip(wanted, (np.linspace(0.5, 0.95, 10), [0.5]), strict=True):
            found = mean_precision(answers.astype(np.float64), labels, np.array(limits))
            assert abs(found - value) < 1e-9, seed


def test_the_labels_themselves_have_the_precision_1(tmp_path: Path) -> None:
    _, labels = case(5)
    answers = np.zeros((SAMPLES, MAX_DETECTIONS, 6), np.float32)
    answers[..., 1] = -1
    for sample, row in enumerate(labels):
        answers[sample, : len(row), 0] = 0.9
        answers[sample, : len(row), 1:] = row[:, :5]
    assert measured(tmp_path, "map", answers, labels).value == pytest.approx(1.0, abs=1e-12)
    answers[..., 1] = -1
    assert measured(tmp_path, "map", answers, labels).value == 0.0


BOXES = hnp.arrays(np.float64, (3, 4), elements=st.integers(0, 6).map(float))


@given(BOXES, BOXES)
def test_overlaps_count_the_cells_of_a_grid(first: Array, second: Array) -> None:
    def cells(box: Any) -> set[tuple[int, int]]:
        x1, y1, x2, y2 = map(int, box)
        return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}

    for one in (first, second):
        one[:, 2:] = np.maximum(one[:, :2], one[:, 2:])
    crowd = np.array([False, True, False])
    found = overlaps(first, second, crowd)
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            a, b = cells(one), cells(other)
            union = len(a) if crowd[j] else len(a | b)
            assert found[i, j] == pytest.approx(len(a & b) / union if union else 0.0)


def altered(place: Any, value: float) -> Array:
    answers, _ = case(4)
    answers[place] = value
    return answers


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (altered((2, 99, 0), np.nan), "NaN or infinite values in the answer to sample 2"),
        (altered((3, 0, 4), np.inf), "NaN or infinite values in the answer to sample 3"),
        (altered((1, 5, 1), 0.5), "no number of one in sample 1"),
        (altered((1, 5, 1), -2), "no number of one in sample 1"),
        (altered((1, 5, 1), 1e9), "no number of one in sample 1"),
        (np.zeros((1, 99, 6), np.float32), "hex digits"),
        (np.zeros((8, 100, 6), np.float32), "names sample 7"),
        (np.zeros((0, 100, 6), np.float32), "no answers"),
        (np.full((7, 100, 6), 1, np.float32), "scale=unit"),
    ],
)
def test_hostile_answers_are_refused(tmp_path: Path, answers: Array, says: str) -> None:
    with pytest.raises(IngestError, match=says):
        measured(tmp_path, "map", answers, case(4)[1])


def test_labels_in_fractions_are_refused(tmp_path: Path) -> None:
    answers, labels = case(4)
    labels[..., 1:5] /= 200
    with pytest.raises(IngestError, match="the labels are within 2 pixels only"):
        measured(tmp_path, "map", answers, labels)


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32]),
        st.sampled_from([(1, 1, 6), (1, 1, 5), (2, 6), (1, 0, 6)]),
        elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 3.0, float("nan"), float("inf")]),
    )
)
def test_any_labels_are_accepted_or_refused(labels: Array) -> None:
    if not check_boxes(labels):
        assert labels.shape == (1, 1, 6)
        assert 0 <= mean_precision(np.zeros((1, 100, 6)) - 1, labels, np.array([0.5])) <= 1


def test_labels_that_are_not_boxes_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "values.npz", y=np.zeros((2, 3)))
    with pytest.raises(IngestError, match="not float64"):
        load_boxes(tmp_path / "values.npz", "y")
    many = np.zeros((1, MAX_BOXES + 1, 6))
    assert check_boxes(many) == "labels have 10,001 boxes a picture, more than 10,000"
    assert not check_boxes(many[:, 1:])
    with pytest.raises(IngestError, match="no box that is counted"):
        mean_precision(np.zeros((1, 100, 6)), np.full((1, 1, 6), -1.0), np.array([0.5]))
