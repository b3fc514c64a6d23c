"""Models are looked into before anybody trusts them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_catalog.load import BUILTIN
from fleetmark_catalog.resolve import Fetch, LocalFile
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.artifacts.model_formats.model_check import check_model
from fleetmark_controller.artifacts.model_formats.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.model_formats.tflite_file import TfliteDescription
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support import ROOT

MODELS = BUILTIN / "model" / "fashion-mnist-dscnn"
MIRROR = ROOT.parent / "shared" / "mirror"


def number(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def field(tag: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return number(tag << 3) + number(value)
    return number(tag << 3 | 2) + number(len(value)) + value


def info(name: bytes) -> bytes:
    shape = field(2, field(1, field(1, 1)) + field(1, field(1, 4)))
    return field(1, name) + field(2, field(1, field(1, 1) + shape))


def onnx(weights: bytes = b"", nodes: bytes = b"", more: bytes = b"") -> bytes:
    graph = nodes + weights + field(11, info(b"in")) + field(12, info(b"out"))
    return field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 17)) + more


def entry(key: bytes, value: bytes) -> bytes:
    return field(13, field(1, key) + field(2, value))


def external(place: bytes) -> bytes:
    return field(8, b"w") + entry(b"location", place) + entry(b"offset", b"0") + field(14, 1)


def attribute(content: bytes) -> bytes:
    return field(1, field(4, b"Constant") + field(5, field(1, b"value") + content))


OUTSIDE = "outside its own folder"
ELSEWHERE = "keeps its weights in other files"
BAD_ONNX = {
    "external above": (onnx(field(5, external(b"../../etc/passwd"))), OUTSIDE),
    "external absolute": (onnx(field(5, external(b"/etc/passwd"))), OUTSIDE),
    "external with a drive": (onnx(field(5, external(b"C:\\x"))), OUTSIDE),
    "external backslashes": (onnx(field(5, external(b"..\\x"))), OUTSIDE),
    "external beside": (onnx(field(5, external(b"weights.bin"))), ELSEWHERE),
    "external without a place": (onnx(field(5, field(14, 1))), ELSEWHERE),
    "external by an oversized number": (onnx(field(5, field(14, (1 << 32) + 1))), ELSEWHERE),
    "external in a node": (onnx(nodes=attribute(field(5, external(b"../x")))), OUTSIDE),
    "external in a node's list": (onnx(nodes=attribute(field(10, external(b"../x")))), OUTSIDE),
    "external in a branch": (
        onnx(nodes=attribute(field(6, field(5, external(b"../x"))))),
        OUTSIDE,
    ),
    "external sparse": (onnx(field(15, field(1, external(b"../x")))), OUTSIDE),
    "external in a function": (
        onnx(more=field(25, field(7, field(5, field(5, external(b"../x")))))),
        OUTSIDE,
    ),
    "external in training": (onnx(more=field(20, field(1, field(5, external(b"/x"))))), OUTSIDE),
    "pickle": (pickle.dumps({"weights": [1, 2, 3]}), "is a pickle"),
    "pickle protocol 0": (pickle.dumps([1, 2], protocol=0), "is a pickle"),
    "PyTorch": (b"PK\x03\x04" + bytes(100), "PyTorch stores pickles"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "a page": (b"<!DOCTYPE html>", "markup file"),
    "nothing": (b"", "no graph"),
    "cut": (onnx()[:-20], "truncated|no graph"),
    "nested without end": (onnx(nodes=b"") + b"", ""),
    "random": (bytes(range(200, 256)) * 4, "is not a model in ONNX format"),
}


def nested() -> bytes:
    inner = b""
    for _ in range(60):
        inner = attribute(field(6, inner))
    return onnx(nodes=inner)


BAD_ONNX["nested without end"] = (nested(), "nested too deeply")


@pytest.mark.parametrize("case", BAD_ONNX)
def test_a_bad_model_is_refused(tmp_path: Path, case: str) -> None:
    data, expected = BAD_ONNX[case]
    (tmp_path / "m").write_bytes(data)
    with pytest.raises(FleetmarkError, match=expected) as caught:
        check_model(tmp_path / "m", "m.onnx")
    assert caught.value.kind is ErrorKind.BAD_DOCUMENT


@pytest.mark.parametrize("case", ["pickle", "external above"])
@pytest.mark.parametrize("way", ["file", "mirror"])
def test_it_never_becomes_a_blob(tmp_path: Path, case: str, way: str) -> None:
    """Even where a component names the digest of the bad bytes."""
    data = BAD_ONNX[case][0]
    digest = sha256_hex(data)
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / digest).write_bytes(data)
    blobs = BlobFolder(tmp_path / "blobs")
    source = (
        LocalFile("m.onnx", len(data), tmp_path / "mirror" / digest)
        if way == "file"
        else Fetch("m.onnx", len(data), ())
    )
    with pytest.raises(FleetmarkError) as caught:
        obtain({digest: source}, blobs, tmp_path / "mirror", print)
    assert caught.value.kind is ErrorKind.BAD_DOCUMENT
    assert list(blobs) == []
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


def test_a_good_model_says_what_it_takes(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(onnx(field(5, field(8, b"w") + field(9, bytes(100)))))
    model = check_model(tmp_path / "m", "m.onnx")
    assert isinstance(model, OnnxDescription)
    assert (model.ir_version, model.opset, model.external) == (8, 17, ())
    assert [(t.name, t.dtype, t.shape) for t in model.inputs] == [("in", "float32", (1, 4))]


def test_the_shipped_models_are_read() -> None:
    first = check_model(MODELS / "dscnn_fp32.onnx", "dscnn_fp32.onnx")
    assert isinstance(first, OnnxDescription)
    assert first.inputs[0].shape == (0, 28, 28, 1)
    second = check_model(MODELS / "dscnn_int8.tflite", "dscnn_int8.tflite")
    assert isinstance(second, TfliteDescription)
    assert (second.inputs[0].dtype, second.outputs[0].shape) == ("int8", (1, 10))
    assert check_model(MODELS / "README.md", "README.md") is None


@pytest.mark.skipif(not (MIRROR / "index.json").is_file(), reason="no mirror beside the checkout")
def test_the_mirrors_models_are_read() -> None:
    for item in json.loads((MIRROR / "index.json").read_text()):
        if (MIRROR / item["sha256"]).is_file() and item["name"].endswith((".onnx", ".tflite")):
            assert check_model(MIRROR / item["sha256"], item["name"]) is not None


@pytest.mark.fuzz("model files")
@given(
    name=st.sampled_from(["dscnn_int8.tflite", "dscnn_int8.onnx"]),
    changes=st.lists(st.tuples(st.integers(0, 90_000), st.integers(0, 255)), max_size=20),
    cut=st.integers(0, 100_000),
)
def test_no_bytes_break_it(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    changes: list[tuple[int, int]],
    cut: int,
) -> None:
    data = bytearray((MODELS / name).read_bytes()[:cut])
    for place, value in changes:
        if place < len(data):
            data[place] = value
    file = tmp_path_factory.mktemp("model") / name
    file.write_bytes(bytes(data))
    try:
        check_model(file, name)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.BAD_DOCUMENT
