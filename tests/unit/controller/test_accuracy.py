"""Accuracy from LoadGen's log and the data set's labels."""

from __future__ import annotations

import gzip
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fleetmark_controller.evaluation.accuracy import load_labels, top_k, words_of
from fleetmark_controller.evaluation.output_metrics import (
    OUTPUT_METRICS,
    compare_outputs,
    load_expected,
    log_bytes,
)
from fleetmark_controller.evaluation.recomputation import Reference, recompute
from fleetmark_controller.loadgen.accuracy_log import parse_accuracy, parse_outputs
from fleetmark_controller.loadgen.errors import IngestError
from tests.support import LOADGEN_LOGS
from tests.support.evaluation_cases import ACCURACY, LABELS


def entry(index: Any = 0, data: Any = "01000000") -> dict[str, Any]:
    return {"seq_id": 0, "qsl_idx": index, "data": data}


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "mlperf_log_accuracy.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("name", ACCURACY)
def test_genuine_logs_show_the_models_accuracy(name: str) -> None:
    answers = parse_accuracy(LOADGEN_LOGS / name / "mlperf_log_accuracy.json")
    found = top_k(answers, load_labels(LABELS))
    assert (found.correct, found.total, found.complete) == (937, 1000, True)
    assert found.value == 0.937


def test_negative_classes_are_just_wrong(tmp_path: Path) -> None:
    answers = parse_accuracy(written(tmp_path, [entry(data="ffffffff")]))
    assert answers.classes.tolist() == [-1]


@pytest.mark.parametrize(
    ("content", "output"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("{}", "no list"),
        ("[1]", "must be an object"),
        ([entry(index=-1)], "qsl_idx"),
        ([entry(index=True)], "qsl_idx"),
        ([entry(index=10**30)], "qsl_idx"),
        ([entry(data="zz000000")], "data"),
        ([entry(data=" 1 2 3 4")], "data"),
        ([entry(data="01")], "hex digits"),
        ([entry(data=None)], "data"),
        (json.dumps([entry()])[:-1], "no JSON"),
        ("[" + "9" * 5000 + "]", "mlperf_log_accuracy"),
    ],
)
def test_hostile_logs_are_refused(tmp_path: Path, content: Any, output: str) -> None:
    with pytest.raises(IngestError, match=output) as caught:
        parse_accuracy(written(tmp_path, content))
    assert len(str(caught.value)) < 300


def test_answers_must_fit_the_data_set(tmp_path: Path) -> None:
    labels = np.array([1, 1], dtype=np.int64)
    with pytest.raises(IngestError, match="names sample 2, but the data set has 2"):
        top_k(parse_accuracy(written(tmp_path, [entry(2)])), labels)
    with pytest.raises(IngestError, match="twice"):
        top_k(parse_accuracy(written(tmp_path, [entry(0), entry(0)])), labels)
    with pytest.raises(IngestError, match="no answers"):
        top_k(parse_accuracy(written(tmp_path, [])), labels)
    half = top_k(parse_accuracy(written(tmp_path, [entry(0)])), labels)
    assert (half.value, half.complete, half.expected) == (1.0, False, 2)


def test_idx_files_of_labels_also_gzipped(tmp_path: Path) -> None:
    content = b"\0\0\x08\x01" + struct.pack(">I", 3) + bytes([7, 8, 9])
    plain, packed = tmp_path / "labels", tmp_path / "labels.gz"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    assert load_labels(plain).tolist() == load_labels(packed).tolist() == [7, 8, 9]


def test_another_key(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", classes=np.array([3, 4], dtype=np.uint8), x=np.zeros(9))
    assert load_labels(tmp_path / "d.npz", "classes").tolist() == [3, 4]


class Bomb:
    def __reduce__(self) -> Any:
        return (print, ("unpickled",))


@pytest.mark.parametrize(
    "array",
    [
        np.array([Bomb()], dtype=object),
        np.zeros((2, 2), dtype=np.int64),
        np.zeros(0, dtype=np.int64),
        np.array([0.5]),
        np.array(["a"]),
    ],
)
def test_what_is_no_list_of_labels_is_refused(
    tmp_path: Path, array: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "d.npz", y=array)
    with pytest.raises(IngestError):
        load_labels(tmp_path / "d.npz")
    assert "unpickled" not in capsys.readouterr().out


# Named: as an id, a gzip header would differ from one second to the next.
NO_DATA_SETS = {
    "empty": b"",
    "no archive": b"PK\x03\x04 no archive",
    "no gzip": b"\x1f\x8b no gzip",
    "cut gzip": gzip.compress(b"\0\0\x08\x01")[:-4],
    "pickle": pickle.dumps([1, 2]),
    "absurd count": b"\0\0\x08\x01" + struct.pack(">I", 1 << 31) + b"1",
    "too short": b"\0\0\x08\x01" + struct.pack(">I", 5) + b"1",
}


@pytest.mark.parametrize("content", NO_DATA_SETS.values(), ids=NO_DATA_SETS)
def test_files_that_are_no_data_set_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels"
    path.write_bytes(content)
    with pytest.raises(IngestError):
        load_labels(path)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[int, int, list[list[int]], list[int]]:
    """Return K, the number of classes, the classes of each answer, and the labels."""
    classes = draw(st.integers(2, 8))
    best = draw(st.integers(1, classes))
    order = st.permutations(range(classes)).map(lambda places: list(places)[:best])
    answers = draw(st.lists(order, min_size=1, max_size=20))
    size = len(answers)
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=size, max_size=size))
    return best, classes, answers, labels


@given(rankings())
def test_top_k_counts_the_samples_whose_class_is_among_the_best(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[int, int, list[list[int]], list[int]]
) -> None:
    best, classes, answers, labels = case
    folder = tmp_path_factory.mktemp("top")
    entries = [
        entry(index, struct.pack(f"<{best}i", *answer).hex().upper())
        for index, answer in enumerate(answers)
    ]
    words = words_of(f"top-{best}")
    found = top_k(parse_accuracy(written(folder, entries), words), np.array(labels))
    # The rank of the label in each answer, from a table of scores.
    scores = np.zeros((len(answers), classes))
    for row, answer in enumerate(answers):
        scores[row, answer] = np.arange(best, 0, -1)
    assert found.correct == int(np.sum(scores[np.arange(len(labels)), labels] > 0))
    assert (found.total, found.complete) == (len(labels), True)


@pytest.mark.parametrize("metric", ["top-0", "top-100", "mAP", "", "top-1\n"])
def test_a_metric_that_is_not_known_is_refused(metric: str) -> None:
    with pytest.raises(IngestError, match="is not known"):
        words_of(metric)


@pytest.mark.parametrize("data", ["01000000", "0100000002000000FF", "01 0000 02000000", 7])
def test_answers_of_another_length_are_refused(tmp_path: Path, data: Any) -> None:
    with pytest.raises(IngestError, match="data is"):
        parse_accuracy(written(tmp_path, [entry(0, data)]), 2)


def test_an_answer_with_a_class_twice_is_refused(tmp_path: Path) -> None:
    answers = parse_accuracy(written(tmp_path, [entry(0, "0100000001000000")]), 2)
    with pytest.raises(IngestError, match="a class twice"):
        top_k(answers, np.array([1]))


def log_of(folder: Path, outputs: Any) -> Path:
    """Write whole outputs as LoadGen does, in another order."""
    rows = [
        entry(index, np.asarray(row, "<f4").tobytes().hex().upper())
        for index, row in enumerate(outputs)
    ]
    return written(folder, rows[::-1])


PAIRS = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6).flatmap(
    lambda shape: st.tuples(
        *[hnp.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32))] * 2
    )
)


@given(PAIRS)
def test_metrics_of_outputs_follow_their_formulas(
    tmp_path_factory: pytest.TempPathFactory, pair: tuple[Any, Any]
) -> None:
    outputs, wanted = pair
    folder = tmp_path_factory.mktemp("outputs")
    np.savez(folder / "d.npz", y=wanted)
    log = log_of(folder, outputs)
    assert log.stat().st_size <= log_bytes(*outputs.shape) + 2
    reference = Reference(folder / "d.npz", "y", "tensors")
    found = {metric: recompute(metric, log, reference) for metric in OUTPUT_METRICS}
    errors = [abs(float(a) - float(b)) for a, b in zip(outputs.flat, wanted.flat, strict=True)]
    assert found["mae"].value == pytest.approx(sum(errors) / len(errors), rel=1e-9, abs=1e-12)
    cosines = []
    for row, own in zip(outputs.tolist(), wanted.tolist(), strict=True):
        product = sum(a * b for a, b in zip(row, own, strict=True))
        length = sum(a * a for a in row) ** 0.5 * sum(b * b for b in own) ** 0.5
        cosines.append(product / length if length else 0.0)
    assert found["cosine"].value == pytest.approx(sum(cosines) / len(cosines), rel=1e-6, abs=1e-6)
    assert -1.000001 <= found["cosine"].value <= 1.000001
    assert found["mae"].complete


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_give_no_figure(tmp_path: Path, value: float) -> None:
    outputs = parse_outputs(log_of(tmp_path, [[1, 2], [3, value]]), 2)
    with pytest.raises(IngestError, match="output of sample 1"):
        compare_outputs("mae", outputs, np.zeros((2, 2), np.float32))


def test_outputs_of_other_samples_are_refused(tmp_path: Path) -> None:
    wanted = np.zeros((1, 2), np.float32)
    for rows, says in (([[1, 2], [1, 2]], "names sample 1"), ([], "no answers")):
        with pytest.raises(IngestError, match=says):
            compare_outputs("mae", parse_outputs(log_of(tmp_path, rows), 2), wanted)
    row = entry(0, "0000803F0000803F")
    twice = parse_outputs(written(tmp_path, [row, row]), 2)
    with pytest.raises(IngestError, match="twice"):
        compare_outputs("mae", twice, wanted)
    one = compare_outputs("mae", parse_outputs(written(tmp_path, [row]), 2), wanted, 3)
    assert (one.value, one.complete) == (1.0, False)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((2, 2)), "not float32"),
        (np.zeros((0, 2), np.float32), "not float32"),
        (np.array([[np.nan]], np.float32), "NaN"),
        (np.array([{}]), "no expected outputs"),
    ],
)
def test_expected_outputs_that_are_not_valid_are_refused(
    tmp_path: Path, array: Any, says: str
) -> None:
    np.savez(tmp_path / "d.npz", y=array)
    with pytest.raises(IngestError, match=says):
        load_expected(tmp_path / "d.npz", "y")
    with pytest.raises(IngestError, match="no expected outputs"):
        load_expected(tmp_path / "d.npz", "z")
