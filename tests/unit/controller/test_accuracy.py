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

from fleetmark_controller.evaluation.accuracy import load_labels, top_1
from fleetmark_controller.loadgen.accuracy_log import parse_accuracy
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
    found = top_1(answers, load_labels(LABELS))
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
        top_1(parse_accuracy(written(tmp_path, [entry(2)])), labels)
    with pytest.raises(IngestError, match="twice"):
        top_1(parse_accuracy(written(tmp_path, [entry(0), entry(0)])), labels)
    with pytest.raises(IngestError, match="no answers"):
        top_1(parse_accuracy(written(tmp_path, [])), labels)
    half = top_1(parse_accuracy(written(tmp_path, [entry(0)])), labels)
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
