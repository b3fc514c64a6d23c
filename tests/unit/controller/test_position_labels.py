"""Labels of a class for each position, in archives and in folders of label pictures."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fleetmark_controller.artifacts.labeled_samples.detection_outputs import OUTPUTS, SPEC
from fleetmark_controller.artifacts.labeled_samples.labels import (
    Labels,
    check_outputs,
    stored_form,
    stored_labels,
)
from fleetmark_controller.artifacts.labeled_samples.position_labels import (
    check_positions,
    check_stored_positions,
    classes_of,
    stored_positions,
)
from fleetmark_controller.artifacts.labeled_samples.preprocess import (
    FITS,
    PictureShape,
    Preprocess,
    place_picture,
    placement,
)
from fleetmark_controller.artifacts.labeled_samples.transcript_labels import transcript_arrays
from fleetmark_controller.artifacts.model_import.plan import PlannedOutput
from fleetmark_controller.artifacts.model_import.value_archive import write_archive
from fleetmark_controller.evaluation.metrics.transcripts import Transcripts
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.unit.controller.test_labeled_data import model, npz, read, refused

Array = npt.NDArray[Any]


def output(*sizes: int, dtype: str = "float32") -> PlannedOutput:
    return PlannedOutput("y", dtype, (1, *sizes), 0)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder of two pictures and a folder of their label pictures."""
    pictures, labels = tmp_path / "pictures", tmp_path / "labels"
    for folder in (pictures, labels):
        (folder / "more").mkdir(parents=True)
    for name, ending in (("a", "png"), ("more/b", "jpg")):
        Image.new("RGB", (8, 4), (40, 90, 200)).save(pictures / f"{name}.{ending}")
        values = np.tile(np.array([0, 0, 1, 1, 2, 2, 255, 255], np.uint8), (4, 1))
        Image.fromarray(values).save(labels / f"{name}.png")
    return pictures, labels


SEGMENTS = model((0, 3, 4, 4), classes=(3, 4, 4))


def test_label_pictures_are_scaled_as_the_pictures(folders: tuple[Path, Path]) -> None:
    pictures, labels = folders
    for metric in ("miou", "f1", "top-1"):
        found = read(SEGMENTS, pictures, labels=str(labels), metric=metric)
        values = found.arrays["y"]
        assert (values.shape, values.dtype) == ((2, 4, 4), np.uint8)
        assert values.tolist() == [[[0, 1, 2, 255]] * 4] * 2
    boxed = read(SEGMENTS, pictures, labels=str(labels), metric="miou", preprocess="letterbox=4")
    none = [255] * 4
    assert boxed.arrays["y"].tolist() == [[none, *[[0, 1, 2, 255]] * 2, none]] * 2
    cropped = read(SEGMENTS, pictures, labels=str(labels), metric="miou", preprocess="crop=4")
    assert set(cropped.arrays["y"].ravel().tolist()) <= {0, 1, 2}


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 16),
    st.integers(1, 16),
    st.sampled_from(FITS),
)
def test_a_picture_lies_where_its_placement_says(
    width: int, height: int, out_width: int, out_height: int, fit: str
) -> None:
    shape, steps = PictureShape(out_height, out_width, 1, False), Preprocess(fit)
    columns = np.tile(np.arange(width, dtype=np.uint8), (height, 1))
    placed = place_picture(Image.fromarray(columns), shape, steps, 255, is_smooth=False)
    place = placement((width, height), shape, steps)
    found = np.asarray(placed)
    assert found.shape == (out_height, out_width)
    for x in range(out_width):
        source = (x + 0.5 - place.offset[0]) / place.scale[0]
        seen = set(found[:, x].tolist()) - {255}
        if 0.5 < source < width - 0.5:
            # The nearest pixel; at an edge between two, either of them.
            assert all(abs(value + 0.5 - source) <= 0.501 + 1e-6 for value in seen)
        elif seen:
            assert min(seen) >= 0


@pytest.mark.parametrize(
    ("name", "picture", "says"),
    [
        ("a.png", Image.new("RGB", (8, 4)), "has the channels RGB, expected one"),
        ("a.png", Image.new("L", (4, 8)), "is 4x8, and its picture is 8x4"),
        ("a.png", Image.new("L", (8, 4), 3), "class 3, and output y has 3 classes"),
        ("a.png", Image.new("I;16", (8, 4), 3000), "class 3000"),
    ],
)
def test_label_pictures_that_do_not_fit_are_refused(
    folders: tuple[Path, Path], name: str, picture: Image.Image, says: str
) -> None:
    pictures, labels = folders
    picture.save(labels / name)
    refused(SEGMENTS, pictures, says, labels=str(labels), metric="miou")


def test_an_index_of_a_palette_is_the_class(folders: tuple[Path, Path]) -> None:
    pictures, labels = folders
    indexed = Image.fromarray(np.full((4, 8), 2, np.uint8)).convert("P")
    indexed.putpalette([7, 7, 7] * 256)
    indexed.save(labels / "a.png")
    found = read(SEGMENTS, pictures, labels=str(labels), metric="miou")
    assert set(found.arrays["y"][0].ravel().tolist()) == {2}


def png(rows: Any, bits: int, color_type: int, palette: int = 0) -> bytes:
    """Return a PNG file whose pixels have any number of bits."""
    data = b""
    for row in rows:
        flat = [value >> bit & 1 for value in row for bit in reversed(range(bits))]
        data += b"\0" + np.packbits(np.array(flat, np.uint8)).tobytes()
    head = struct.pack(">IIBBBBB", len(rows[0]), len(rows), bits, color_type, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    if palette:
        chunks.insert(1, (b"PLTE", bytes(3 * palette)))
    made = b"\x89PNG\r\n\x1a\n"
    for name, part in chunks:
        made += struct.pack(">I", len(part)) + name + part
        made += struct.pack(">I", zlib.crc32(name + part))
    return made


@pytest.mark.parametrize(
    ("bits", "color_type"), [(1, 0), (2, 0), (4, 0), (8, 0), (1, 3), (2, 3), (4, 3), (8, 3)]
)
def test_pixels_of_few_bits_are_exact_or_refused(
    folders: tuple[Path, Path], bits: int, color_type: int
) -> None:
    pictures, labels = folders
    most = min((1 << bits) - 1, 2)
    rows = [[place % (most + 1) for place in range(8)]] * 4
    (labels / "a.png").write_bytes(png(rows, bits, color_type, 1 << bits if color_type else 0))
    options = {"labels": str(labels), "metric": "miou"}
    if color_type == 0 and bits in (2, 4):
        says = (f"a.png: has gray pixels of {bits} bits", "Save it with 8 bits or a palette")
        with pytest.raises(FleetmarkError) as caught:
            read(SEGMENTS, pictures, **options)
        assert all(one in f"{caught.value} {caught.value.next_step}" for one in says)
        return
    found = read(model((0, 3, 4, 8), classes=(3, 4, 8)), pictures, **options)
    assert found.arrays["y"][0].tolist() == rows


def test_damaged_missing_and_doubtful_label_pictures_are_refused(
    folders: tuple[Path, Path],
) -> None:
    pictures, labels = folders
    options = {"labels": str(labels), "metric": "miou"}
    whole = (labels / "a.png").read_bytes()
    for data in (whole[:50], b"", b"GIF89a"):
        (labels / "a.png").write_bytes(data)
        refused(SEGMENTS, pictures, "a.png", "is not a PNG picture", **options)
    (labels / "a.png").unlink()
    refused(SEGMENTS, pictures, "a.png: is missing", **options)
    (labels / "a.png").symlink_to("/etc/passwd")
    refused(SEGMENTS, pictures, "a.png: is a link", **options)
    (labels / "a.png").unlink()
    Image.new("L", (8, 4), 255).save(labels / "a.png")
    Image.new("L", (8, 4), 255).save(labels / "more" / "b.png")
    refused(SEGMENTS, pictures, "no label that is counted", **options)
    Image.new("RGB", (8, 4)).save(pictures / "a.jpg")
    refused(SEGMENTS, pictures, "is the label of two pictures", **options)
    refused(SEGMENTS, pictures, "--metric top-1 or f1 or miou", labels=str(labels), metric="top-2")
    refused(SEGMENTS, pictures, "without names", classes="names.txt", **options)


def test_classes_of_pictures_have_an_f1(tmp_path: Path, folders: tuple[Path, Path]) -> None:
    (tmp_path / "labels.csv").write_text("a.png,4\nmore/b.jpg,9\n")
    path = str(tmp_path / "labels.csv")
    found = read(model(), folders[0], labels=path, metric="f1")
    assert found.arrays["y"].tolist() == [4, 9]
    assert found.arrays["y"].dtype == np.uint8


@pytest.mark.parametrize(
    ("y", "metric", "says"),
    [
        (np.zeros((2, 3)), "f1", "expected integers [N] or [N, …]"),
        (np.full((2, 3), -1), "f1", "all are -1"),
        (np.full((2, 3), 255, np.uint8), "miou", "all are -1"),
        (np.full((2, 3), -2), "f1", "labels y are -2 to -2"),
        (np.full((2, 3), 1_000_000), "f1", "expected -1 to 999,999"),
        (np.zeros((2, 3), np.int64), "miou", "output y [10] of a sample does not fit"),
        (np.zeros((3, 10), np.int64), "f1", "3 labels in y"),
        (np.zeros((2, 10), np.int64), "f1", "one real number for each label"),
        (np.zeros((2, 0), np.int64), "f1", "which are none"),
        (np.full((2, 10), 255), "f1", "one real number"),
    ],
)
def test_labels_of_archives_that_do_not_fit_are_refused(
    tmp_path: Path, y: Array, metric: str, says: str
) -> None:
    path = npz(tmp_path, x=np.zeros((2, 7), np.float32), y=y)
    refused(model((0, 7)), path, says, metric=metric)


def test_labels_of_positions_are_stored(tmp_path: Path) -> None:
    y = np.array([[0, -1, 4], [1, 2, 3]])
    path = npz(tmp_path, x=np.zeros((2, 7), np.float32), y=y)
    for metric in ("f1", "miou", "top-1"):
        found = read(model((0, 7), classes=(5, 3)), path, metric=metric)
        assert found.arrays["y"].tolist() == [[0, 255, 4], [1, 2, 3]]
        # 256 classes do not fit into bytes.
        found = read(model((0, 7), classes=(3, 256)), path, metric=metric)
        assert found.arrays["y"].dtype == np.int32
        assert found.arrays["y"].tolist() == y.tolist()


SIZES = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@given(SIZES, SIZES, st.sampled_from(["float32", "int64", "int8"]))
def test_the_axis_of_the_classes_is_found_or_refused(
    sizes: tuple[int, ...], labels: tuple[int, ...], dtype: str
) -> None:
    axes = [axis for axis in range(len(sizes)) if sizes[:axis] + sizes[axis + 1 :] == labels]
    try:
        count = classes_of(output(*sizes, dtype=dtype), labels)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
        assert len(axes) != 1 or sizes[axes[0]] == 1
        assert sizes != labels or dtype == "float32"
        return
    if count:
        assert [sizes[axis] for axis in axes] == [count]
    else:
        assert dtype != "float32"
        assert np.prod(sizes) == np.prod(labels)


def test_several_axes_that_may_be_the_classes_are_refused() -> None:
    with pytest.raises(FleetmarkError, match="3 axes that may be those of the classes") as caught:
        classes_of(output(4, 4, 4), (4, 4))
    assert "ArgMax" in caught.value.next_step
    assert classes_of(output(4, 4, dtype="int64"), (4, 4)) == 0
    assert classes_of(PlannedOutput("y", "float32", (1, 0, 4, 4), 0), (4, 4)) is None
    assert classes_of(PlannedOutput("y", "float32", (), None), (4, 4)) is None


def test_labels_of_an_unknown_output_allow_any_class() -> None:
    labels = np.array([[0, 3]], np.int32)
    unknown = PlannedOutput("y", "float32", (1, 0, 2), 0)
    assert stored_positions(labels, unknown).dtype == np.int32
    for dtype in ("int8", "uint8", "bool"):
        assert stored_positions(labels, output(2, dtype=dtype)).dtype == np.uint8
    # A map of wider integers may have any class.
    for dtype in ("int16", "int32", "int64", "uint16"):
        assert stored_positions(labels, output(2, dtype=dtype)).dtype == np.int32
        check_stored_positions(labels, output(2, dtype=dtype))
    with pytest.raises(FleetmarkError, match="stored as bytes, and output y has 300 classes"):
        check_stored_positions(labels.astype(np.uint8), output(300, 2))


def test_answers_that_are_too_large_for_the_log_are_refused() -> None:
    check_stored_positions(np.zeros((120, 512, 512), np.uint8), output(21, 512, 512))
    with pytest.raises(FleetmarkError, match="accuracy log of 65 MiB, more than 64"):
        check_stored_positions(np.zeros((130, 512, 512), np.uint8), output(21, 512, 512))


STORED = st.lists(st.integers(-1, 300), min_size=1, max_size=6).filter(lambda one: max(one) >= 0)


@given(STORED, st.sampled_from(["f1", "miou", "top-1"]))
def test_stored_labels_are_read_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], metric: str
) -> None:
    path = tmp_path_factory.mktemp("stored") / "values.npz"
    try:
        checked = check_positions(np.array([numbers]), metric, "y")
    except FleetmarkError as error:
        assert "counted" in error.what  # 255 is not counted with miou
        return
    labels = stored_form(Labels(metric, checked), _plan(len(numbers)))
    write_archive(path, labels.arrays)
    found = stored_labels(path, metric)
    assert found.values.dtype == labels.values.dtype
    assert np.array_equal(found.values, labels.values)
    none = 255 if found.values.dtype == np.uint8 else -1
    again = np.where(found.values == none, -1, found.values.astype(np.int64))
    assert again.tolist() == checked.tolist()
    check_outputs(_plan(len(numbers)), found)


def _plan(positions: int) -> Any:
    return SimpleNamespace(outputs=[output(positions, dtype="uint8")])


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.zeros((2, 3), np.int64), "expected uint8 or int32"),
        (np.full((2, 3), -2, np.int32), "expected uint8 or int32"),
        (np.full((2, 3), 255, np.uint8), "no label that is counted"),
        (np.zeros((0, 3), np.uint8), "expected uint8 or int32"),
    ],
)
def test_an_archive_with_other_labels_is_refused(tmp_path: Path, y: Array, says: str) -> None:
    write_archive(tmp_path / "values.npz", {"y": y})
    with pytest.raises(FleetmarkError, match=says):
        stored_labels(tmp_path / "values.npz", "miou")


STORED_LABELS = {
    "top-1": {"y": np.array([0, 255])},
    "f1": {"y": np.array([0, 255], np.uint8)},
    "miou": {"y": np.zeros((2, 2), np.int32)},
    "mae": {"y": np.ones((2, 2), np.float32)},
    "map": {
        "y": np.array([[[0, 1, 1, 9, 9, 0.0]]] * 2),
        SPEC: np.array([0, -2, -2, 0, 1, 1]),
        OUTPUTS: np.frombuffer(b'["y"]', np.uint8),
    },
    "wer": transcript_arrays(Transcripts(("a", "b"), ("a", "b")), "y"),
}
SAME = {"top-1": {"top-1", "top-5"}, "f1": {"f1", "miou"}, "miou": {"f1", "miou", "top-1"}}
SAME |= {"mae": {"mae", "cosine"}, "map": {"map", "map50"}, "wer": {"wer", "cer"}}


@pytest.mark.parametrize("kind", STORED_LABELS)
@pytest.mark.parametrize(
    "metric", ["top-1", "top-5", "f1", "miou", "mae", "cosine", "map", "map50", "wer", "cer"]
)
def test_stored_labels_of_another_metric_are_refused(
    tmp_path: Path, kind: str, metric: str
) -> None:
    write_archive(tmp_path / "values.npz", STORED_LABELS[kind])
    if metric in SAME[kind]:
        assert len(stored_labels(tmp_path / "values.npz", metric)) == 2
        return
    with pytest.raises(FleetmarkError, match="those of another metric") as caught:
        stored_labels(tmp_path / "values.npz", metric)
    assert caught.value.next_step.startswith("Give --dataset and --labels again")


def test_class_255_is_not_counted_as_one_with_miou(tmp_path: Path) -> None:
    write_archive(tmp_path / "values.npz", {"y": np.array([[0, 255]], np.int32)})
    assert stored_labels(tmp_path / "values.npz", "f1").values.max() == 255
    with pytest.raises(FleetmarkError, match="another metric than miou: they have class 255"):
        stored_labels(tmp_path / "values.npz", "miou")


def test_answers_of_top_k_are_checked_against_the_log() -> None:
    def check(samples: int, metric: str) -> None:
        plan: Any = SimpleNamespace(outputs=[output(1000)])
        check_outputs(plan, Labels(metric, np.zeros(samples, np.int64)))

    check(84_000, "top-87")
    with pytest.raises(FleetmarkError, match="answers of 352 bytes make an accuracy log of 66 MiB"):
        check(87_000, "top-88")
    check(621_000, "top-1")
    with pytest.raises(FleetmarkError, match="more than 64"):
        check(700_000, "top-1")
