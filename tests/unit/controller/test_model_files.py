"""Files of models: weights beside them, bundles, ONNX Runtime's format, and hostile ones."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_controller.artifacts.model_formats.model_files import ModelFiles, open_model_files
from fleetmark_controller.artifacts.model_formats.onnx_file import read_onnx
from fleetmark_controller.artifacts.model_formats.ort_file import NotOrtError, read_ort
from fleetmark_controller.artifacts.model_import.components import ImportRequest, StoredFile
from fleetmark_controller.artifacts.model_import.imported_model import component_of
from fleetmark_controller.artifacts.model_import.plan import plan_import
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.model_files import Node, Value, onnx_graph, sparse, tflite_graph
from tests.support.ort_files import ort_graph
from tests.support.runnable_models import with_external

X, Y = Value("x", "float32", ["batch", 4]), Value("y", "float32", ["batch", 2])
SMALL = tflite_graph([Value("x", shape=[1, 4])], [Value("y", shape=[1, 2])])
OTHER = tflite_graph([Value("x", shape=[1, 9])], [Value("y", shape=[1, 2])])


def opened(path: Path, member: str = "") -> ModelFiles:
    with open_model_files(path, member) as files:
        assert files.path.is_file()
        return files


def refused(path: Path, member: str = "") -> FleetmarkError:
    with pytest.raises(FleetmarkError) as caught:
        opened(path, member)
    return caught.value


def test_weights_beside_the_model_come_with_it(tmp_path: Path) -> None:
    model, weights = with_external()
    (tmp_path / "m.onnx").write_bytes(model)
    assert "'weights.data', which cannot be read" in str(refused(tmp_path / "m.onnx"))
    (tmp_path / "weights.data").write_bytes(weights)
    assert opened(tmp_path / "m.onnx").external == (tmp_path / "weights.data",)


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("../weights.data", "outside its own folder"),
        ("/etc/passwd", "outside its own folder"),
        ("C:\\weights", "outside its own folder"),
        ("..\\weights", "outside its own folder"),
        ("sub/weights.data", "not a plain file name"),
        ("", "a file without a name"),
        ("-rf", "not a plain file name"),
        ("w\n.data", "not a plain file name"),
    ],
)
def test_weights_cannot_lead_out_of_the_folder(tmp_path: Path, location: str, says: str) -> None:
    (tmp_path / "m.onnx").write_bytes(with_external(location)[0])
    error = refused(tmp_path / "m.onnx")
    assert error.kind is ErrorKind.BAD_DOCUMENT
    assert says in str(error)


def test_a_link_to_weights_is_refused(tmp_path: Path) -> None:
    model, weights = with_external()
    (tmp_path / "m.onnx").write_bytes(model)
    (tmp_path / "elsewhere").write_bytes(weights)
    (tmp_path / "weights.data").symlink_to(tmp_path / "elsewhere")
    assert "weights.data" in str(refused(tmp_path / "m.onnx"))


def test_the_component_names_each_file(tmp_path: Path) -> None:
    model, weights = with_external()
    path = tmp_path / "m.onnx"
    path.write_bytes(model)
    beside = StoredFile("weights.data", "1" * 64, len(weights))
    made = component_of(path, "0" * 64, ImportRequest("m.onnx"), {}, external=[beside])
    assert 'role = "model.1"' in made.toml
    assert 'name = "weights.data"' in made.toml
    with pytest.raises(FleetmarkError, match="which was not delivered"):
        component_of(path, "0" * 64, ImportRequest("m.onnx"), {})


def test_a_file_above_the_limit_of_protobuf_is_refused(tmp_path: Path) -> None:
    model = onnx_graph([X], [Y])
    sparse(tmp_path / "m.onnx", (1 << 31) + 100)
    with (tmp_path / "m.onnx").open("r+b") as file:
        file.write(model)
        # The rest is one unknown field of bytes, which a parser skips.
        rest = (1 << 31) + 100 - len(model) - 7
        file.write(bytes([99 << 3 & 0x7F | 0x80 | 2, 99 >> 4]))
        for _ in range(4):
            file.write(bytes([rest & 0x7F | 0x80]))
            rest >>= 7
        file.write(bytes([rest]))
    error = refused(tmp_path / "m.onnx")
    assert "runtimes read ONNX files up to 2,147,483,647" in str(error)


def bundle(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_bundle_of_one_model(tmp_path: Path) -> None:
    path = bundle(tmp_path / "hands.task", {"metadata.json": b"{}", "model": SMALL})
    files = opened(path)
    assert files.file_name == "hands.tflite"
    assert files.description.inputs[0].shape == (1, 4)


def test_a_bundle_of_several_models_lists_them(tmp_path: Path) -> None:
    path = bundle(tmp_path / "hands.task", {"detect.tflite": SMALL, "mark.tflite": OTHER})
    error = refused(path)
    assert error.kind is ErrorKind.USAGE
    assert "contains 2 models: detect.tflite, mark.tflite" in str(error)
    assert error.next_step == "Give --member detect.tflite"
    files = opened(path, "mark.tflite")
    assert (files.file_name, files.description.inputs[0].shape) == ("hands-mark.tflite", (1, 9))
    assert "Did you mean 'mark.tflite'" in str(refused(path, "mark.tflit"))


def test_hostile_bundles_are_refused(tmp_path: Path) -> None:
    (tmp_path / "junk.task").write_bytes(b"PK\x03\x04" + bytes(100))
    assert "is not a readable bundle" in str(refused(tmp_path / "junk.task"))
    assert "no TFLite model" in str(refused(bundle(tmp_path / "none.task", {"a": b"text here"})))
    path = bundle(tmp_path / "out.task", {"../../evil.tflite": SMALL})
    assert not list(tmp_path.parent.glob("evil*"))
    assert opened(path).file_name == "out.tflite"
    (tmp_path / "m.tflite").write_bytes(SMALL)
    assert "only a bundle has members" in str(refused(tmp_path / "m.tflite", "a"))


def test_the_ending_lite_is_tflite(tmp_path: Path) -> None:
    (tmp_path / "m.lite").write_bytes(SMALL)
    made = component_of(tmp_path / "m.lite", "0" * 64, ImportRequest("m.lite"), {})
    assert 'format = "tflite"' in made.toml
    assert 'name = "m.tflite"' in made.toml


GRAPH = {
    "nodes": [Node("Cast", ["ids"], "cast"), Node("Gather", ["table", "cast"], "rows")],
    "weights": [Value("table", "float32", [1000, 32])],
}


def test_runtime_format_and_onnx_have_the_same_description(tmp_path: Path) -> None:
    inputs = [
        Value("ids", "int64", ["batch", "seq"]),
        Value("mask", "float16", [None, "seq"]),
        Value("any", "bool", None),
    ]
    (tmp_path / "m.onnx").write_bytes(onnx_graph(inputs, [Y], **GRAPH))  # type: ignore[arg-type]
    (tmp_path / "m.ort").write_bytes(ort_graph(inputs, [Y], **GRAPH))  # type: ignore[arg-type]
    first, second = read_onnx(tmp_path / "m.onnx"), read_ort(tmp_path / "m.ort")
    assert (first.inputs, first.outputs) == (second.inputs, second.outputs)
    assert second.facts.table_sizes(["ids"]) == {"ids": 1000}
    assert first.facts.elements == second.facts.elements


def test_a_model_in_runtime_format_is_imported(tmp_path: Path) -> None:
    (tmp_path / "m.ort").write_bytes(ort_graph([X], [Y]))
    made = component_of(tmp_path / "m.ort", "0" * 64, ImportRequest("m.ort"), {})
    assert 'format = "ort"' in made.toml
    assert 'name = "m.ort"' in made.toml
    assert plan_import(read_ort(tmp_path / "m.ort")).sample.name == "x"


@pytest.mark.fuzz("ort file")
@given(place=st.integers(0, 1200), data=st.binary(min_size=1, max_size=8))
def test_damaged_files_in_runtime_format_never_escape(
    tmp_path_factory: pytest.TempPathFactory, place: int, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("ort") / "m.ort"
    whole = bytearray(ort_graph([X], [Y], **GRAPH))  # type: ignore[arg-type]
    whole[place : place + len(data)] = data
    path.write_bytes(bytes(whole))
    try:
        read_ort(path)
    except NotOrtError as error:
        assert "\n" not in str(error)


def test_a_pipe_is_no_model(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.ort")
    with pytest.raises(OSError, match=r"regular|m\.ort"):
        opened(tmp_path / "m.ort")
