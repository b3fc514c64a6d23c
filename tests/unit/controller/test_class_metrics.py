"""f1, miou and the share of right positions, from LoadGen's log and labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fleetmark_controller.evaluation.metrics.confusion import (
    NO_CLASS,
    class_metric,
    count_classes,
    load_class_labels,
)
from fleetmark_controller.evaluation.metrics.stored_labels import answers_log_bytes
from fleetmark_controller.evaluation.output_metrics import RecomputedMetric
from fleetmark_controller.evaluation.recomputation import Recomputed, Reference, recompute
from fleetmark_controller.loadgen.errors import IngestError

Array = npt.NDArray[Any]
# The values that scikit-learn 1.9.1 gave for `case(seed)`: f1_score(average="macro",
# zero_division=0), jaccard_score(average="macro", zero_division=0) and accuracy_score.
SCIKIT_LEARN = {
    0: (0.530563998649105, 0.44149184149184145, 0.7181818181818181),
    1: (0.5314293799013663, 0.41152402402402405, 0.6907216494845361),
    2: (0.5430537634408602, 0.4151432880844646, 0.6696428571428571),
    3: (0.5647889972159726, 0.432128144843662, 0.6666666666666666),
    4: (0.4529917396540476, 0.31305456965394857, 0.5185185185185185),
    5: (0.7277090836334533, 0.5784366771944411, 0.7142857142857143),
    6: (0.656188017085725, 0.5089745225055328, 0.6415094339622641),
    11: (0.664918692727369, 0.5101703851703852, 0.6634615384615384),
    17: (0.6945437432933845, 0.5344357396988977, 0.6991150442477876),
    23: (0.451353057888487, 0.34603414582892206, 0.6238532110091743),
}


def case(seed: int) -> tuple[Array, Array]:
    """Return answers and labels [30, 4], of which some classes are only in one of them."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2 + seed % 7, (30, 4)).astype(np.int32)
    other = draw.integers(0, 3 + seed % 5, (30, 4)).astype(np.int32)
    answers = np.where(draw.random((30, 4)) < 0.6, labels, other)
    return answers, np.where(draw.random((30, 4)) < 0.1, -1, labels).astype(np.int32)


def as_bytes(values: Array) -> Array:
    return np.where(values < 0, 255, values).astype(np.uint8)


def log_of(folder: Path, answers: Array, order: Any = None) -> Path:
    """Write the log of answers [samples, …], the last sample first."""
    entries = [
        {"seq_id": 0, "qsl_idx": index, "data": np.ascontiguousarray(row).tobytes().hex().upper()}
        for index, row in enumerate(answers)
    ]
    path = folder / "mlperf_log_accuracy.json"
    path.write_text(json.dumps(entries[::-1] if order is None else [entries[n] for n in order]))
    return path


def measured(
    folder: Path, metric: str, answers: Array, labels: Array, expected: int | None = None
) -> Recomputed:
    np.savez(folder / "values.npz", y=labels)
    reference = Reference(folder / "values.npz", "y", "tensors")
    return recompute(metric, log_of(folder, answers), reference, expected)


@pytest.mark.parametrize("seed", SCIKIT_LEARN)
@pytest.mark.parametrize("stored", [as_bytes, np.int32])
def test_metrics_are_those_of_scikit_learn(tmp_path: Path, seed: int, stored: Any) -> None:
    answers, labels = case(seed)
    for metric, value in zip(("f1", "miou", "top-1"), SCIKIT_LEARN[seed], strict=True):
        found = measured(tmp_path, metric, stored(answers), stored(labels))
        assert found.value == pytest.approx(value, abs=1e-12)
        assert (found.total, found.complete) == (30, True)


@pytest.mark.parametrize("seed", range(60))
def test_metrics_are_those_of_the_installed_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    answers, labels = case(seed)
    counts = count_classes(answers, labels)
    wanted, found = labels[labels >= 0], answers[labels >= 0]
    options = {"average": "macro", "zero_division": 0}
    for metric, value in (
        ("f1", metrics.f1_score(wanted, found, **options)),
        ("miou", metrics.jaccard_score(wanted, found, **options)),
        ("top-1", metrics.accuracy_score(wanted, found)),
    ):
        assert class_metric(metric, counts) == pytest.approx(value, abs=1e-12)


MAPS = st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(
        *[hnp.arrays(np.int32, shape, elements=st.integers(-1, 4))] * 2, st.just(shape)
    )
)


@given(MAPS)
def test_metrics_follow_their_definitions(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[Array, Array, tuple[int, int]]
) -> None:
    answers, labels, (samples, positions) = drawn
    folder = tmp_path_factory.mktemp("maps")
    pairs = [
        (int(a), int(b)) for a, b in zip(answers.ravel(), labels.ravel(), strict=True) if b >= 0
    ]
    if not pairs:
        with pytest.raises(IngestError, match="no position with a label"):
            measured(folder, "f1", answers, labels)
        return
    f1, iou = [], []
    for one in {value for pair in pairs for value in pair} - {-1}:
        both = sum(a == b == one for a, b in pairs)
        either = sum(one in pair for pair in pairs)
        f1.append(2 * both / (both + either))
        iou.append(both / either)
    wanted = {
        "f1": sum(f1) / len(f1),
        "miou": sum(iou) / len(iou),
        "top-1": sum(a == b for a, b in pairs) / len(pairs),
    }
    for metric, value in wanted.items():
        for stored in (np.int32, as_bytes):
            # Labels of one number for each sample belong to top-1 of samples.
            found = measured(folder, metric, stored(answers), stored(labels))
            assert found.value == pytest.approx(value, abs=1e-12)
    log = log_of(folder, answers)
    assert log.stat().st_size <= answers_log_bytes(samples, 4 * positions) + 2


def test_labels_of_one_class_for_each_sample(tmp_path: Path) -> None:
    labels = np.array([0, 1, 1, 2, -1], np.int32)
    answers = np.array([0, 1, 0, 1, 0], np.int32)
    # Class 0: 2/3; class 1: 2/4; class 2: 0.
    found = measured(tmp_path, "f1", answers, labels)
    assert found.value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert isinstance(found, RecomputedMetric)


def test_an_incomplete_log_counts_what_was_answered(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [1, 1]], np.uint8)
    found = measured(tmp_path, "miou", labels[:1], labels, 2)
    assert (found.value, found.total, found.expected, found.complete) == (1.0, 1, 2, False)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (np.array([[0, -2]], np.int32), "has the class -2"),
        (np.array([[0, 1_000_000]], np.int32), "has the class 1000000, expected -1 to 999,999"),
        (np.array([[0, 1, 2]], np.int32), "must be 16 hex digits"),
        (np.array([[0, 1]], np.uint8), "must be 16 hex digits"),
        (np.zeros((3, 2), np.int32), "names sample 2, but the data set has 2 samples"),
        (np.zeros((0, 2), np.int32), "no answers"),
    ],
)
def test_hostile_answers_are_refused(tmp_path: Path, answers: Array, says: str) -> None:
    labels = np.array([[0, 1], [1, 1]], np.int32)
    with pytest.raises(IngestError, match=says) as caught:
        measured(tmp_path, "f1", answers, labels)
    assert str(caught.value).startswith("accuracy is unknown: ")


def test_a_sample_that_is_answered_twice_is_refused(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [1, 1]], np.int32)
    np.savez(tmp_path / "values.npz", y=labels)
    log = log_of(tmp_path, labels, [0, 0])
    with pytest.raises(IngestError, match="twice"):
        recompute("f1", log, Reference(tmp_path / "values.npz", "y", "tensors"))


@pytest.mark.parametrize(
    "labels",
    [np.zeros((2, 2)), np.zeros((0, 2), np.uint8), np.zeros(2, np.int64), np.array([{}])],
)
def test_labels_that_are_not_valid_are_refused(tmp_path: Path, labels: Array) -> None:
    np.savez(tmp_path / "values.npz", y=labels)
    with pytest.raises(IngestError, match="labels"):
        load_class_labels(tmp_path / "values.npz", "y")
    with pytest.raises(IngestError, match="labels"):
        load_class_labels(tmp_path / "values.npz", "z")


def test_many_positions_are_counted_in_parts() -> None:
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 256, (5, 700_000)).astype(np.uint8)
    answers = draw.integers(0, 256, (5, 700_000)).astype(np.uint8)
    counts = count_classes(answers, labels)
    is_counted = labels != NO_CLASS["uint8"]
    assert counts.labels.sum() == is_counted.sum()
    assert counts.hits.sum() == ((labels == answers) & is_counted).sum()
    assert counts.answers.sum() == (is_counted & (answers != 255)).sum()
