"""Labeled samples of an import: prepared exactly, and hostile files refused by name."""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fleetmark_catalog.load import BUILTIN
from fleetmark_controller.artifacts.labeled_samples import labeled_inputs
from fleetmark_controller.artifacts.labeled_samples.label_files import (
    MAX_SAMPLES,
    read_classes,
    read_labels,
)
from fleetmark_controller.artifacts.labeled_samples.labeled_inputs import read_labeled_inputs
from fleetmark_controller.artifacts.labeled_samples.preprocess import (
    PictureShape,
    Preprocess,
    fit_picture,
    parse_preprocess,
    picture_shape,
    to_values,
    typed,
)
from fleetmark_controller.artifacts.labeled_samples.samples import LabeledOptions
from fleetmark_controller.artifacts.model_formats.model_graph import GraphFacts, Tensor
from fleetmark_controller.artifacts.model_formats.onnx_file import OnnxDescription
from fleetmark_controller.artifacts.model_formats.tflite_file import read_tflite
from fleetmark_controller.artifacts.model_import import value_archive
from fleetmark_controller.artifacts.model_import.input_files import FileInputs
from fleetmark_controller.artifacts.model_import.plan import plan_import
from fleetmark_core.errors import ErrorKind, FleetmarkError

Array = npt.NDArray[Any]
TFLITE = BUILTIN / "model" / "fashion-mnist-dscnn" / "dscnn_int8.tflite"


def model(
    shape: tuple[int, ...] = (0, 3, 4, 4), dtype: str = "float32", classes: tuple[int, ...] = (10,)
) -> OnnxDescription:
    x = Tensor("x", dtype, shape, ("n", *[""] * (len(shape) - 1)))
    y = Tensor("y", "float32", (0, *classes), ("n", *[""] * len(classes)))
    return OnnxDescription(8, 17, (x,), (y,), (), GraphFacts())


def read(described: Any, dataset: Path | str, **options: str) -> FileInputs:
    """Read the samples, and check that the controller accepts what they became."""
    given = LabeledOptions(str(dataset), **options)
    found = read_labeled_inputs(described, (), (), (), given)
    plan_import(described, found.shapes, found.inputs, arrays=found.heads)
    return found


def refused(described: Any, dataset: Path | str, *says: str, **options: str) -> None:
    with pytest.raises(FleetmarkError) as caught:
        read(described, dataset, **options)
    assert caught.value.kind is ErrorKind.USAGE
    for word in says:
        assert word in str(caught.value)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("b.png", "a.png", "more/c.jpg")):
        Image.new("RGB", (9, 6), (40 * number, 90, 200)).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    labels = "file,class\nb.png,4\na.png,2\nmore/c.jpg,9\n"
    (tmp_path / "labels.csv").write_text(labels)
    return folder


def csv_of(pictures: Path, text: str | bytes) -> str:
    path = pictures.parent / "other.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def test_pictures_become_values_in_the_order_of_their_names(pictures: Path) -> None:
    found = read(
        model(), pictures, labels=str(pictures.parent / "labels.csv"), preprocess="color=bgr"
    )
    assert found.arrays["y"].tolist() == [2, 4, 9]
    values = found.arrays["x"]
    assert (values.shape, values.dtype) == ((3, 3, 4, 4), np.float32)
    assert np.array_equal(values[0, :, 0, 0], np.array([200, 90, 40], np.float32) / np.float32(255))
    assert found.inputs == ("x=array:x",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("b.png,4\na.png,2\n", "no label for 'more/c.jpg'"),
        ("b.png,4\na.png,2\nmore/c.jpg,1\n../z.png,3\n", "other.csv:4: labels '../z.png'"),
        ("b.png,4\nb.png,4\n", "other.csv:2: labels 'b.png' a second time"),
        ("b.png,nan\n", "other.csv:1: 'nan' is not a class"),
        ("b.png,-1\n", "'-1' is not a class"),
        ("b.png,4.0\n", "'4.0' is not a class"),
        ("b.png,99999999999999999999\n", "is not a class"),
        ("b.png,cat\n", "--classes"),
        ("b.png\n", "has 1 columns"),
        ('"b.png,4\n', "is not CSV"),
        ("b.png,4\na.png,2\nmore/c.jpg,10\n", "class 10, and output y has 10 classes"),
        (b"\xff\xfe\x00", "is not text in UTF-8"),
    ],
)
def test_labels_that_are_not_those_of_the_pictures_are_refused(
    pictures: Path, text: str | bytes, says: str
) -> None:
    refused(model(), pictures, says, labels=csv_of(pictures, text))


def test_ten_million_rows_are_refused_at_the_first_unknown_file(pictures: Path) -> None:
    path = csv_of(pictures, b"b.png,1\n" * 10_000_000)
    refused(model(), pictures, "other.csv", "larger than", labels=path)
    path = csv_of(pictures, b"b.png,1\n" * 1_000_000)
    refused(model(), pictures, "other.csv:2", "second time", labels=path)


def test_class_names_have_the_order_of_their_file(pictures: Path) -> None:
    names = pictures.parent / "names.txt"
    names.write_text("cat\ndog\nbird\n")
    labels = csv_of(pictures, "a.png,bird\nb.png,dog\nmore/c.jpg,0\n")
    found = read(model(classes=(3,)), pictures, labels=labels, classes=str(names))
    assert found.arrays["y"].tolist() == [2, 1, 0]
    labels = csv_of(pictures, "a.png,brid\n")
    refused(model(), pictures, "'brid'", "bird", labels=labels, classes=str(names))
    labels = csv_of(pictures, "a.png,3\n")
    refused(model(), pictures, "'3' is not a class", labels=labels, classes=str(names))
    for text, says in (("cat\ncat\n", "names.txt:2"), ("cat\n\ndog\n", "names.txt:2: has no name")):
        names.write_text(text)
        refused(model(), pictures, says, labels=labels, classes=str(names))


def test_damaged_and_hostile_pictures_are_refused_by_name(pictures: Path) -> None:
    labels = str(pictures.parent / "labels.csv")
    whole = (pictures / "a.png").read_bytes()
    row = b"\x00" + bytes(3 * 60000)
    bomb = io.BytesIO()
    bomb.write(b"\x89PNG\r\n\x1a\n")
    for kind, data in (
        (b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(row)),
        (b"IEND", b""),
    ):
        bomb.write(struct.pack(">I", len(data)) + kind + data)
        bomb.write(struct.pack(">I", zlib.crc32(kind + data)))
    for data in (whole[:40], b"", b"GIF89a", bomb.getvalue()):
        (pictures / "a.png").write_bytes(data)
        refused(model(), pictures, "a.png", labels=labels)
    (pictures / "a.png").unlink()
    (pictures / "a.png").symlink_to("/etc/passwd")
    refused(model(), pictures, "a.png: is a link", labels=labels)
    (pictures / "a.png").unlink()
    os.mkfifo(pictures / "a.png")
    refused(model(), pictures, "a.png", labels=labels)


def test_a_folder_without_pictures_or_labels_is_refused(tmp_path: Path, pictures: Path) -> None:
    refused(model(), pictures, "needs labels")
    (tmp_path / "empty").mkdir()
    refused(model(), tmp_path / "empty", "has no pictures", labels="labels.csv")
    refused(model(), tmp_path / "labels.txt", "neither a folder")


def npz(tmp_path: Path, **arrays: Array) -> Path:
    path = tmp_path / "samples.npz"
    np.savez(path, **arrays)
    return path


def test_values_of_an_archive_are_kept_exactly(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(5, 7)).astype(np.float32)
    y = np.array([0, 1, 2, 3, 9])
    found = read(model((0, 7)), npz(tmp_path, x=x, y=y))
    assert np.array_equal(found.arrays["x"], x)
    assert np.array_equal(found.arrays["y"], y)
    refused(model((0, 7)), npz(tmp_path, x=x, y=y), "not pictures", preprocess="mean=1")


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": np.zeros((2, 7), np.float32)}, "expected x and y"),
        ({"x": np.zeros((2, 7), np.float32), "y": np.array([0, 1, 2])}, "3 labels in y"),
        ({"x": np.zeros((2, 7), np.float32), "y": np.array([0.0, np.nan])}, "expected integers"),
        ({"x": np.zeros((2, 7), np.float32), "y": np.array([[0], [1]])}, "not fit the labels [1]"),
        ({"x": np.zeros((2, 7), np.float32), "y": np.array([0, -1])}, "-1 to 0"),
        ({"x": np.zeros((0, 7), np.float32), "y": np.zeros(0, np.int64)}, "0 labels"),
        ({"x": np.zeros((2, 8), np.float32), "y": np.array([0, 1])}, "needs [7]"),
        ({"x": np.full((2, 7), np.nan, np.float32), "y": np.array([0, 1])}, "NaN"),
        ({"x": np.zeros((2, 7), np.float32), "y": np.array([0, 10])}, "class 10"),
        ({"x": np.array([{}, 1]), "y": np.array([0, 1])}, "pickle"),
    ],
)
def test_archives_that_do_not_fit_are_refused(
    tmp_path: Path, arrays: dict[str, Array], says: str
) -> None:
    refused(model((0, 7)), npz(tmp_path, **arrays), says)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert value_archive.MAX_BYTES == 1 << 30
    monkeypatch.setattr(value_archive, "MAX_BYTES", 1 << 22)
    path = tmp_path / "samples.npz"
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        head, {"descr": "<f4", "fortran_order": False, "shape": (1 << 10, 1 << 10)}
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.npy", head.getvalue())
        with archive.open("x.npy", "w", force_zip64=True) as member:
            for _ in range(5):
                member.write(bytes(1 << 20))
    refused(model((0, 7)), path, "samples.npz", "more than 4 MiB")


def test_too_many_samples_are_refused_before_they_are_read(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = model((0, 3, 20000, 20000))
    refused(large, pictures, "MiB of values", labels=str(pictures.parent / "labels.csv"))


@pytest.mark.parametrize("metric", ["top-0", "top-100", "accuracy", "top-1 ", "TOP-1"])
def test_unknown_metrics_are_refused(tmp_path: Path, metric: str) -> None:
    refused(model(), tmp_path, "is not a metric", metric=metric)


def test_a_metric_needs_more_outputs_than_it_takes(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.zeros((2, 7), np.float32), y=np.array([0, 1]))
    refused(model((0, 7), classes=(5,)), path, "too few for top-5", metric="top-5")
    refused(model((0, 7), classes=(1,)), path, "too few for top-1")
    assert read(model((0, 7), classes=(5,)), path, metric="top-4")


# Preparation.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("resize=0", "'0' is not a size"),
        ("resize=224,crop=224", "exclude each other"),
        ("mean=nan", "is not a number"),
        ("mean=1:2", "nor one for each channel"),
        ("mean=1:2:3:4", "nor one for each channel"),
        ("scale=1e999", "is not a number"),
        ("scale=0", "makes all values equal"),
        ("scale=1,scale=2", "given twice"),
        ("resise=224", "resize"),
        ("color=rbg", "rgb"),
        ("layout=", "is not one of"),
        (",", "is not a step"),
    ],
)
def test_steps_that_are_not_valid_are_refused(text: str, says: str) -> None:
    with pytest.raises(FleetmarkError, match=r"--preprocess") as caught:
        parse_preprocess(text)
    assert says in f"{caught.value} {caught.value.next_step}"


@given(st.text(alphabet="resizmanclo=,:.0123456789x-+eE", max_size=60))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        steps = parse_preprocess(text)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
    else:
        assert all(np.isfinite([*steps.mean, *steps.scale]))


@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.lists(st.floats(-255, 255), min_size=3, max_size=3),
    st.lists(st.floats(0.001, 2), min_size=3, max_size=3),
    st.sampled_from(["", "rgb", "bgr"]),
    st.sampled_from(["nchw", "nhwc"]),
    st.randoms(),
)
def test_values_follow_the_formula(
    height: int,
    width: int,
    mean: list[float],
    scale: list[float],
    color: str,
    layout: str,
    random: Any,
) -> None:
    pixels = np.array([random.randrange(256) for _ in range(height * width * 3)], np.uint8).reshape(
        height, width, 3
    )
    steps = Preprocess(mean=tuple(mean), scale=tuple(scale), color=color, layout=layout)
    sizes = (3, height, width) if layout == "nchw" else (height, width, 3)
    tensor = Tensor("x", "float32", (1, *sizes))
    shape = picture_shape("x", sizes, steps)
    made = to_values(fit_picture(Image.fromarray(pixels), shape, steps), shape, steps, tensor)
    assert made.shape == sizes
    for row in range(height):
        for column in range(width):
            for channel in range(3):
                pixel = float(pixels[row, column, 2 - channel if color == "bgr" else channel])
                wanted = (pixel - mean[channel]) * scale[channel]
                place = (channel, row, column) if layout == "nchw" else (row, column, channel)
                assert made[place] == pytest.approx(wanted, rel=1e-5, abs=1e-3)


def test_letterbox_and_crop_keep_the_proportions() -> None:
    picture = Image.new("RGB", (40, 20), (200, 0, 0))
    shape = PictureShape(10, 10, 3, False)
    boxed = fit_picture(picture, shape, Preprocess("letterbox"))
    assert (boxed[:, :, 0] == 200).all(axis=1).tolist() == [False] * 2 + [True] * 5 + [False] * 3
    assert boxed[0, 0].tolist() == [114, 114, 114]
    stripes = np.zeros((16, 32, 3), np.uint8)
    stripes[:, 8:24] = 255
    crop = Preprocess("crop")
    cropped = fit_picture(Image.fromarray(stripes), PictureShape(14, 14, 3, False), crop)
    assert (cropped == 255).all()
    narrow = fit_picture(Image.new("L", (1, 5000)), shape, crop)
    assert narrow.shape == (10, 10, 3)


@pytest.mark.parametrize(
    ("sizes", "text"),
    [
        ((10,), ""),
        ((4, 8, 8), ""),
        ((3, 8, 3), ""),
        ((8, 8, 3), "layout=nchw"),
        ((8, 8, 3), "color=gray"),
        ((8, 8, 1), "color=rgb"),
        ((8, 8, 3), "resize=9"),
        ((8, 8, 1), "mean=1:2:3"),
    ],
)
def test_inputs_that_do_not_take_such_pictures_are_refused(
    sizes: tuple[int, ...], text: str
) -> None:
    with pytest.raises(FleetmarkError):
        picture_shape("x", sizes, parse_preprocess(text))


def test_steps_give_the_size_of_open_dimensions(pictures: Path) -> None:
    labels = str(pictures.parent / "labels.csv")
    found = read(model((0, 3, 0, 0)), pictures, labels=labels, preprocess="resize=5x6")
    assert found.shapes == ("x=1x3x5x6",)
    assert found.arrays["x"].shape == (3, 3, 5, 6)


def test_a_quantized_input_gets_quantized_values(tmp_path: Path) -> None:
    described = read_tflite(TFLITE)
    (tensor,) = described.inputs
    assert tensor.quantization is not None
    scale, point = tensor.quantization
    pixels = np.arange(28 * 28 * 2).astype(np.uint8).reshape(2, 28, 28)
    found = read(described, npz(tmp_path, x=pixels, y=np.array([1, 2])))
    real = pixels.astype(np.float32) / np.float32(255)
    wanted = np.clip(np.rint(real / np.float32(scale)) + point, -128, 127)
    assert found.arrays["x"].dtype == np.int8
    assert np.array_equal(found.arrays["x"][..., 0], wanted)


@given(
    st.sampled_from(["int8", "uint8", "int16", "float16", "float32", "bool"]),
    st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=5),
)
def test_values_fit_a_type_or_are_refused(dtype: str, numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    try:
        made = typed(values, Tensor("x", dtype, (1, len(values))), "--preprocess")
    except FleetmarkError:
        return
    assert made.dtype == np.dtype(dtype)
    assert np.allclose(made.astype(np.float64), values, rtol=1e-3, atol=0.5)


NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), min_size=1, max_size=8)
    .map(str.strip)
    .filter(bool),
    min_size=1,
    max_size=8,
    unique=True,
)


@given(NAMES, st.data())
def test_labels_that_a_csv_writer_wrote_are_read(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    import csv

    path = tmp_path_factory.mktemp("csv") / "labels.csv"
    classes = [data.draw(st.integers(0, 999)) for _ in names]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file", "class"], *zip(names, classes, strict=True)])
    if "file" in names:
        return  # then the header is a label
    assert read_labels(path, names) == dict(zip(names, classes, strict=True))


def test_limits(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("".join(f"{n}\n" for n in range(MAX_SAMPLES + 1)))
    with pytest.raises(FleetmarkError, match="more than 1,000,000 classes"):
        read_classes(path)


def test_expected_outputs_are_stored_as_float32(tmp_path: Path) -> None:
    x, y = np.ones((3, 7), np.float32), np.arange(30.0).reshape(3, 10)
    for metric in ("mae", "cosine"):
        found = read(model((0, 7)), npz(tmp_path, x=x, y=y), metric=metric)
        assert found.arrays["y"].dtype == np.float32
        assert np.array_equal(found.arrays["y"], y)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.ones((3, 9)), "9 elements, and output y has 10"),
        (np.zeros((3, 10), np.int64), "expected floats"),
        (np.zeros((3, 10)), "zeros only"),
        (np.full((3, 10), np.nan), "NaN"),
        (np.full((3, 10), 1e300), "too large"),
        (np.ones((2, 10)), "2 labels"),
        (np.zeros((3, 0)), "which are none"),
        (np.ones((3, 3_000_000)), "accuracy log of 68 MiB, more than 64"),
    ],
)
def test_expected_outputs_that_do_not_fit_are_refused(tmp_path: Path, y: Array, says: str) -> None:
    path = npz(tmp_path, x=np.ones((3, 7), np.float32), y=y)
    refused(model((0, 7)), path, says, metric="cosine")


def test_pictures_have_no_expected_outputs(pictures: Path) -> None:
    labels = str(pictures.parent / "labels.csv")
    refused(model(), pictures, "needs expected outputs", labels=labels, metric="mae")


def test_integer_outputs_have_no_error(tmp_path: Path) -> None:
    path = npz(tmp_path, x=np.zeros((2, 28, 28), np.uint8), y=np.ones((2, 10)))
    refused(read_tflite(TFLITE), path, "needs real numbers", metric="mae")


# Arrays of several inputs.


def encoder(table: int = 50, length: int = 8, dtype: str = "int64") -> OnnxDescription:
    """A model of token ids and a mask, whose ids index a table."""
    facts = GraphFacts(lookups=[("table", "ids", 0)])
    facts.add_weight("table", "float32", (table, 4))
    tensors = tuple(Tensor(name, dtype, (0, length), ("n", "s")) for name in ("ids", "mask"))
    return OnnxDescription(8, 17, tensors, (Tensor("y", "float32", (0, 3), ("n", "")),), (), facts)


@pytest.mark.parametrize("length", [8, 0])
def test_each_input_has_the_array_of_its_name(tmp_path: Path, length: int) -> None:
    ids, mask = np.arange(40).reshape(5, 8), np.eye(5, 8, dtype=np.int32)
    path = npz(tmp_path, mask=mask, ids=ids, y=np.array([0, 1, 2, 0, 1]))
    described = encoder(length=length)
    found = read(described, path)
    plan = plan_import(described, found.shapes, found.inputs, arrays=found.heads)
    assert (plan.sample.name, plan.sample_count) == ("ids", 5)
    for entry, wanted in ((plan.sample, ids), (plan.constants[0], mask)):
        assert entry.values is not None
        array = found.arrays[entry.values.source]
        assert (array.dtype, entry.rows) == (np.int64, 5)
        assert np.array_equal(array, wanted)
    assert found.arrays["y"].tolist() == [0, 1, 2, 0, 1]


def test_one_array_leaves_the_other_inputs_to_their_defaults(tmp_path: Path) -> None:
    path = npz(tmp_path, ids=np.zeros((3, 8), np.int64), y=np.array([0, 1, 2]))
    found = read(encoder(), path)
    assert found.inputs == ("ids=array:x",)
    np.save(tmp_path / "mask.npy", np.ones((1, 8), np.int64))
    given = LabeledOptions(str(path))
    found = read_labeled_inputs(encoder(), (), (f"mask={tmp_path}/mask.npy",), (), given)
    assert found.inputs == ("mask=array:a0", "ids=array:x")
    assert set(found.arrays) == {"a0", "x", "y"}
    for text in ("ids=ones", f"ids={tmp_path}/mask.npy"):
        with pytest.raises(FleetmarkError, match="input ids is given twice"):
            read_labeled_inputs(encoder(), (), (text,), (), given)


IDS, MASK = np.zeros((3, 8), np.int64), np.ones((3, 8), np.int64)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"ids": IDS, "mask": MASK}, "expected y and an array for each input"),
        ({"y": np.arange(3)}, "expected y and an array for each input"),
        ({"ids": IDS, "masks": MASK, "y": np.arange(3)}, "array 'masks' is not an input"),
        ({"x": IDS, "y": np.arange(3)}, "array 'x' is not an input"),
        ({"ids": IDS, "mask": MASK[:2], "y": np.arange(3)}, "mask [2, 8] and 3 labels"),
        ({"ids": IDS, "mask": MASK[:, :7], "y": np.arange(3)}, "input mask needs [8]"),
        ({"ids": IDS, "mask": MASK * 0.5, "y": np.arange(3)}, "holds float64"),
        ({"ids": IDS + 50, "mask": MASK, "y": np.arange(3)}, "50 is outside the table of 50"),
        ({"ids": IDS - 51, "mask": MASK, "y": np.arange(3)}, "-51 is outside the table of 50"),
    ],
)
def test_arrays_that_do_not_fit_their_inputs_are_refused(
    tmp_path: Path, arrays: dict[str, Array], says: str
) -> None:
    refused(encoder(), npz(tmp_path, **arrays), says)


def test_one_of_several_arrays_of_bytes_has_pictures_only_with_steps(tmp_path: Path) -> None:
    x = Tensor("x", "float32", (0, 3, 4, 4), ("n", "", "", ""))
    table = Tensor("table", "uint8", (0, 4, 4), ("n", "", ""))
    y = Tensor("y", "float32", (0, 10), ("n", ""))
    described = OnnxDescription(8, 17, (x, table), (y,), (), GraphFacts())
    values = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    pictures = np.full((2, 6, 6, 3), 51, np.uint8)
    floats = np.ones((2, 3, 4, 4), np.float32)
    found = read(described, npz(tmp_path, x=floats, table=values, y=np.arange(2)))
    assert set(found.arrays) == {"x", "x1", "y"}
    assert np.array_equal(found.arrays["x1"], values)
    path = npz(tmp_path, x=pictures, table=values, y=np.arange(2))
    refused(described, path, "x [2, 6, 6, 3], and input x needs [3, 4, 4]")
    found = read(described, path, preprocess="resize=4")
    assert found.arrays["x"] == pytest.approx(0.2)
    # The only array has pictures without steps, too.
    found = read(model(), npz(tmp_path, x=pictures, y=np.arange(2)))
    assert found.arrays["x"] == pytest.approx(0.2)


def test_a_named_input_gets_one_array(tmp_path: Path) -> None:
    for name in ("x", "ids"):
        path = npz(tmp_path, **{name: IDS, "y": np.arange(3)})
        assert read(encoder(), f"ids={path}").inputs == ("ids=array:x",)
    path = npz(tmp_path, ids=IDS, mask=MASK, y=np.arange(3))
    refused(encoder(), f"ids={path}", "expected x and y")
    refused(encoder(), f"isd={path}", "no input 'isd'")


def test_many_inputs_share_the_limit_of_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labeled_inputs, "MAX_BYTES", 2 * IDS.nbytes)
    path = npz(tmp_path, ids=IDS, mask=MASK, y=np.arange(3))
    assert read(encoder(), path)
    monkeypatch.setattr(labeled_inputs, "MAX_BYTES", 2 * IDS.nbytes - 1)
    refused(encoder(), path, "MiB of values")
