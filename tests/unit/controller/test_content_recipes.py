"""Data sets that the controller makes, and files inside wheels: the same bytes everywhere."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from fleetmark_catalog.load import load_catalog
from fleetmark_controller.artifacts import from_wheel, recipes
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


def test_shuffles_are_numpys_frozen_ones() -> None:
    """The split's digest stands or falls with it."""
    order = np.random.RandomState(2026).permutation(70_000)
    assert order[20_000:20_005].tolist() == [48248, 61084, 50034, 66668, 64175]
