"""Labeled boxes of an import, and the outputs of detectors."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from fleetmark_controller.artifacts.labeled_samples.box_labels import checked_boxes, read_coco
from fleetmark_controller.artifacts.labeled_samples.detection_outputs import (
    FORMATS,
    OUTPUTS,
    SPEC,
    check_detections,
    describe_detections,
    output_names,
    parse_detections,
    resolve_detections,
)
from fleetmark_controller.artifacts.labeled_samples.labels import (
    Labels,
    check_outputs,
    stored_labels,
)
from fleetmark_controller.artifacts.model_import.plan import PlannedOutput
from fleetmark_controller.artifacts.model_import.value_archive import write_archive
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.unit.controller.test_labeled_data import model, npz, read, refused

Array = npt.NDArray[Any]
DETECTOR = model((0, 3, 10, 10), classes=(5, 6))


def coco(folder: Path, **changed: Any) -> str:
    document = {
        "images": [
            {"id": 7, "file_name": "a.png"},
            {"id": 8, "file_name": "more/b.png"},
            {"id": 9, "file_name": "not-here.png"},
        ],
        "categories": [{"id": 3, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [2, 4, 8, 10], "iscrowd": 0},
            {"image_id": 7, "category_id": 3, "bbox": [0, 0, 20, 40], "iscrowd": 1},
            {"image_id": 9, "category_id": 3, "bbox": [0, 0, 1, 1]},
        ],
        **changed,
    }
    path = folder / "boxes.json"
    path.write_text(json.dumps(document))
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of two pictures of 20x40 pixels."""
    pictures = tmp_path / "pictures"
    (pictures / "more").mkdir(parents=True)
    for name in ("a.png", "more/b.png"):
        Image.new("RGB", (20, 40), (40, 90, 200)).save(pictures / name)
    return pictures


@pytest.mark.parametrize(
    ("steps", "first", "crowd"),
    [
        ("", [1, 1, 1, 5, 3.5, 0], [0, 0, 0, 10, 10, 1]),
        # 10/40 of the size, with two pixels at the left.
        ("letterbox=10", [1, 2.5, 1, 4.5, 3.5, 0], [0, 2, 0, 7, 10, 1]),
        # 10/20/0.875 of the size: 11x23 pixels, of which a part is cut off above and below.
        ("crop=10", [1, 8 / 7, 0, 40 / 7, 2, 0], [0, 0, 0, 10, 10, 1]),
    ],
)
def test_boxes_of_a_coco_file_lie_as_the_pictures(
    tmp_path: Path, folder: Path, steps: str, first: list[float], crowd: list[float]
) -> None:
    options = {"labels": coco(tmp_path), "metric": "map", "preprocess": steps}
    found = read(DETECTOR, folder, **options)
    boxes = found.arrays["y"]
    assert (boxes.shape, boxes.dtype) == ((2, 2, 6), np.float64)
    assert boxes[0, 0] == pytest.approx(first)
    assert boxes[0, 1] == pytest.approx(crowd)
    assert (boxes[1, :, 0] == -1).all()
    assert found.arrays[SPEC].tolist() == [0, -2, -2, 0, 1, 1]
    assert found.arrays[OUTPUTS].tobytes() == b'["y"]'
    write_archive(tmp_path / "values.npz", found.arrays)
    stored = stored_labels(tmp_path / "values.npz", "map")
    assert np.array_equal(stored.values, boxes)
    assert stored.more[OUTPUTS].tobytes() == b'["y"]'


def test_classes_are_those_of_a_file_of_names(tmp_path: Path, folder: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("bird\ndog\nfish\ncat\n")
    options = {"labels": coco(tmp_path), "metric": "map50", "classes": str(names)}
    found = read(DETECTOR, folder, **options)
    assert found.arrays["y"][0, :, 0].tolist() == [1, 3]
    names.write_text("bird\ndog\n")
    refused(DETECTOR, folder, "'cat' is not in", **options)
    for name in (["cat"], {"cat": 1}, 7, None):
        options["labels"] = coco(tmp_path, categories=[{"id": 3, "name": name}])
        refused(DETECTOR, folder, "categories[0].name is", "expected a text", **options)
    options["labels"] = coco(tmp_path, categories=[{"id": 3}])
    refused(DETECTOR, folder, "categories[0].name is None", **options)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"images": [{"id": 7, "file_name": "a.png"}]}, "file_name 'more/b.png'"),
        ({"images": {}}, "has no list images"),
        ({"images": [{"id": 7}]}, "images[0] has no file_name"),
        ({"images": [{"id": None, "file_name": "a.png"}]}, "images[0].id is None"),
        ({"categories": []}, "has 0 categories"),
        ({"categories": [{"id": 1}, {"id": 1}]}, "has the category 1 twice"),
        ({"annotations": [7]}, "has no list annotations"),
        ({"annotations": []}, "no box that is counted"),
        ({"categories": [{"id": 1, "name": [1]}]}, "categories[0].name is [1], expected a text"),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0.1, 0.2, 0.5, 0.5]}]},
            "boxes are fractions, expected pixels of the picture",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [1, 1, 9, 9]}] * 10_001},
            "has pictures with 10,001 boxes",
        ),
        ({"annotations": [{"image_id": 5}]}, "annotations[0] names the image 5"),
        ({"annotations": [{"image_id": 7, "category_id": 9}]}, "has the category 9"),
    ],
)
def test_damaged_files_are_refused(
    tmp_path: Path, folder: Path, changed: dict[str, Any], says: str
) -> None:
    refused(DETECTOR, folder, says, labels=coco(tmp_path, **changed), metric="map")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"bbox": [1, 2, 3]}, "annotations[0].bbox is [1, 2, 3]"),
        ({"bbox": [1, 2, 3, float("nan")]}, "of finite numbers"),
        ({"bbox": [1, 2, 3, True]}, "of finite numbers"),
        ({"bbox": [1, 2, 3, 10**400]}, "of finite numbers"),
        ({"bbox": [1, 2, -3, 4]}, "negative width"),
        ({"bbox": [1, 2, 3, 4], "iscrowd": 2}, "iscrowd is 2"),
    ],
)
def test_boxes_that_are_not_valid_are_refused(
    tmp_path: Path, folder: Path, entry: dict[str, Any], says: str
) -> None:
    annotations = [{"image_id": 7, "category_id": 1, **entry}]
    refused(DETECTOR, folder, says, labels=coco(tmp_path, annotations=annotations), metric="map")


def test_files_that_are_not_json_are_refused(tmp_path: Path, folder: Path) -> None:
    for data, says in ((b"[" * 100_000, "is not JSON"), (b"[]", "is not an object"), (b"\xff", "")):
        (tmp_path / "boxes.json").write_bytes(data)
        labels = str(tmp_path / "boxes.json")
        refused(DETECTOR, folder, says, labels=labels, metric="map")
    refused(DETECTOR, folder, "cannot be read", labels=str(tmp_path / "no.json"), metric="map")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
KEYS = ("id", "file_name", "image_id", "category_id", "bbox", "iscrowd", "name")
TABLES = st.lists(st.dictionaries(st.sampled_from(KEYS), JSON | st.just(7)) | JSON, max_size=3)


@given(TABLES, TABLES, TABLES)
def test_any_document_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, images: Any, categories: Any, annotations: Any
) -> None:
    place = tmp_path_factory.mktemp("coco")
    images = [{"id": 7, "file_name": "a.png"}, *images]
    path = coco(place, images=images, categories=categories, annotations=annotations)
    try:
        found = read_coco(Path(path), place, [place / "a.png"], "")
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
        assert len(error.what) < 500
        return
    assert len(found) == 1
    assert all(np.isfinite(box).all() for boxes in found.boxes for box in boxes)


@given(st.data(), JSON)
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, value: Any
) -> None:
    place = tmp_path_factory.mktemp("coco")
    document = json.loads(Path(coco(place)).read_text())
    table = document[data.draw(st.sampled_from(sorted(document)))]
    entry = table[data.draw(st.integers(0, len(table) - 1))]
    if data.draw(st.booleans()):
        entry[data.draw(st.sampled_from(KEYS))] = value
    else:
        entry.pop(data.draw(st.sampled_from(sorted(entry))))
    path = place / "damaged.json"
    path.write_text(json.dumps(document))
    (place / "names.txt").write_text("dog\ncat\n")
    classes = data.draw(st.sampled_from(["", str(place / "names.txt")]))
    try:
        found = read_coco(path, place, [place / "a.png", place / "more/b.png"], classes)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
        assert 0 < len(error.what) < 500
        return
    assert len(found) == 2
    assert all(np.isfinite(box).all() for boxes in found.boxes for box in boxes)


@pytest.mark.parametrize(
    ("y", "says"),
    [
        (np.zeros((2, 3)), "expected floats [N, boxes, 5]"),
        (np.zeros((2, 3, 4)), "expected floats [N, boxes, 5]"),
        (np.full((2, 3, 5), np.nan), "NaN"),
        (np.full((2, 3, 5), -1.0), "no box that is counted"),
        (np.full((2, 3, 5), 0.5), "not an integer"),
        (np.array([[[0, 5, 5, 4, 6.0]], [[0, 5, 5, 4, 6.0]]]), "x2 below x1"),
        (np.array([[[0, 1, 1, 4, 6, 2.0]], [[0, 1, 1, 4, 6, 2]]]), "neither 0 nor 1"),
        (np.full((2, 1, 5), [0, 0, 0, 9, 9.0]).repeat(2, 0), "4 labels in y"),
        (np.full((2, 1, 5), [0, 0.1, 0.2, 1, 2.0]), "boxes are fractions, expected pixels of the"),
        (np.full((2, 10_001, 5), [0, 0, 0, 9, 9.0]), "10,001 boxes a picture, more than 10,000"),
    ],
)
def test_arrays_that_are_not_boxes_are_refused(tmp_path: Path, y: Array, says: str) -> None:
    path = npz(tmp_path, x=np.zeros((2, 7), np.float32), y=y)
    refused(model((0, 7), classes=(5, 6)), path, says, metric="map")


def test_boxes_of_an_array_are_kept(tmp_path: Path) -> None:
    y = np.array([[[1, 2, 3, 4, 5.5]], [[-1, 0, 0, 0, 0]]], np.float32)
    path = npz(tmp_path, x=np.zeros((2, 7), np.float32), y=y)
    found = read(model((0, 7), classes=(5, 6)), path, metric="map")
    assert found.arrays["y"].tolist() == [[[1, 2, 3, 4, 5.5, 0]], [[-1, 0, 0, 0, 0, 0]]]
    refused(model((0, 7)), path, "may be the boxes", metric="map")
    options = {"metric": "top-1", "detections": "scale=unit"}
    path = npz(tmp_path, x=np.zeros((2, 7), np.float32), y=np.zeros(2, np.int64))
    refused(model((0, 7)), path, "needs no boxes", **options)


def test_too_many_samples_for_the_log_are_refused() -> None:
    boxes = np.zeros((13_695, 1, 6))
    assert checked_boxes(boxes, "y") is boxes
    with pytest.raises(FleetmarkError, match="make an accuracy log of 64 MiB"):
        checked_boxes(np.zeros((13_696, 1, 6)), "y")


# The outputs.


def output(name: str, *sizes: int, dtype: str = "float32") -> PlannedOutput:
    return PlannedOutput(name, dtype, sizes, 0)


SSD = (output("loc_boxes", 1, 10, 4), output("labels", 1, 10), output("scores", 1, 10))
PLAIN = (output("o:3", 1, 10, 4), output("o:1", 1, 10), output("o:2", 1, 10))
DETR = (output("logits", 1, 100, 92), output("pred_boxes", 1, 100, 4))
OPEN = (output("boxes", 0, 4), output("labels", 0, dtype="int64"), output("scores", 0))


@pytest.mark.parametrize(
    ("outputs", "text", "wanted"),
    [
        ((output("y", 1, 300, 6),), "", [0, -2, -2, 0, 1, 1]),
        ((output("y", 1, 300, 6),), "format=cxcywh,scale=unit", [0, -2, -2, 2, 8, 6]),
        (SSD, "format=yxyx,scale=unit", [0, 2, 1, 1, 8, 6]),
        (PLAIN, "scores=o:2,classes=o:1,format=yxyx,scale=pixels", [0, 2, 1, 1, 1, 1]),
        (DETR, "scores=logits,format=cxcywh,scale=unit", [1, 0, -1, 2, 8, 6]),
        (OPEN, "format=xyxy,scale=pixels", [0, 2, 1, 0, 1, 1]),
    ],
)
def test_outputs_are_recognized(outputs: Any, text: str, wanted: list[int]) -> None:
    spec = resolve_detections(text, outputs, (8, 6))
    assert spec.tolist() == wanted
    check_detections(spec, output_names(spec, outputs), outputs)
    shown = describe_detections(spec, outputs)
    assert outputs[wanted[0]].name in shown
    assert FORMATS[wanted[3]] in shown
    assert ("fractions of 8x6" in shown) is (wanted[4] == 8)


@pytest.mark.parametrize(
    ("outputs", "text", "says"),
    [
        (SSD, "", "the format and scale of the boxes must be given"),
        (SSD, "format=xyxy", "the scale of the boxes must be given"),
        (PLAIN, "format=xyxy,scale=unit", "none of the outputs o:3, o:1, o:2 may be the scores"),
        (PLAIN, "scores=o:2,format=xyxy,scale=unit", "may be the classes"),
        (SSD, "boxes=nothing", "no output 'nothing'"),
        (SSD, "boxes=scores,scores=labels", "has 10 columns"),
        ((*SSD, output("b", 1, 10, 4)), "", "such as boxes=NAME"),
        ((output("y", 1, 9, 7),), "", "may be the boxes"),
        ((output("y", 1, 9, 6, dtype="int8"),), "", "is int8"),
        (SSD, "box=1", "is not a part"),
        (SSD, "format=xyz", "is not one of"),
        (SSD, "scale=unit,scale=unit", "given twice"),
    ],
)
def test_outputs_that_are_not_clear_are_refused(outputs: Any, text: str, says: str) -> None:
    with pytest.raises(FleetmarkError) as caught:
        resolve_detections(text, outputs, (8, 6))
    if "such as" in says:
        assert resolve_detections("boxes=b,format=xyxy,scale=pixels", outputs, None)[0] == 3
        assert "may be the boxes" in str(caught.value) or "must be given" in str(caught.value)
        return
    assert says in str(caught.value)


def test_fractions_need_the_size_of_pictures() -> None:
    with pytest.raises(FleetmarkError, match="an input that takes pictures"):
        resolve_detections("scale=unit", (output("y", 1, 300, 6),), None)


@given(st.text(alphabet="boxescrlamt=,unipy |", max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        found = parse_detections(text)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
    else:
        assert set(found) <= {"boxes", "scores", "classes", "format", "scale"}


@given(st.lists(st.integers(-4, 4) | st.just(1 << 40), min_size=5, max_size=7))
def test_stored_outputs_are_checked(numbers: list[int]) -> None:
    names = np.frombuffer(b"[]", np.uint8)
    try:
        names = output_names(np.array(numbers), SSD)
    except IndexError:
        assert max(numbers[:3]) > 2
    try:
        check_detections(np.array(numbers), names, SSD)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.USAGE
        return
    assert len(numbers) == 6
    assert numbers[0] == 0  # only this one has four columns
    assert describe_detections(np.array(numbers), SSD)


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int64, np.float32]),
        hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=40),
    )
)
def test_any_stored_names_are_checked(names: Array) -> None:
    spec = np.array([0, 2, 1, 0, 1, 1])
    if names.tobytes() == output_names(spec, SSD).tobytes():
        return
    with pytest.raises(FleetmarkError, match="the values are for the outputs"):
        check_detections(spec, names, SSD)


def test_outputs_of_another_model_are_refused() -> None:
    spec = resolve_detections("format=yxyx,scale=unit", SSD, (8, 6))
    names = output_names(spec, SSD)
    check_detections(spec, names, SSD)
    says = "the values are for the outputs"
    twisted = (SSD[0], SSD[2], SSD[1])
    changed = (output("loc_boxes", 1, 10, 5), *SSD[1:])
    typed = (output("loc_boxes", 1, 10, 4, dtype="int8"), *SSD[1:])
    for outputs, why in ((twisted, says), (changed, "has 5 columns"), (typed, "is int8")):
        with pytest.raises(FleetmarkError, match=why):
            check_detections(spec, names, outputs)
    best = resolve_detections("scores=logits,format=cxcywh,scale=unit", DETR, (8, 6))
    flat = (output("logits", 10), DETR[1])
    with pytest.raises(FleetmarkError, match="no axis of classes"):
        check_detections(best, output_names(best, DETR), flat)


def test_a_class_without_score_is_refused() -> None:
    values = np.array([[[91.0, 1, 2, 30, 40, 0]]])
    best = resolve_detections("scores=logits,format=cxcywh,scale=unit", DETR, (8, 6))
    plan: Any = SimpleNamespace(outputs=DETR)
    labels = Labels("map", values, {SPEC: best, OUTPUTS: output_names(best, DETR)})
    check_outputs(plan, labels)
    values[..., 0] = 92
    with pytest.raises(FleetmarkError, match="class 92, and the scores of the boxes have 92"):
        check_outputs(plan, labels)
    spec = resolve_detections("format=xyxy,scale=pixels", OPEN, None)
    check_outputs(
        SimpleNamespace(outputs=OPEN),  # type: ignore[arg-type]
        Labels("map", values, {SPEC: spec, OUTPUTS: output_names(spec, OPEN)}),
    )
