"""Data sets that the controller makes, and files inside wheels: the same bytes everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetmark_catalog.load import Location
from fleetmark_catalog.resolve import Fetch
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.artifacts.download import fetch_location
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.unit.controller.test_content_recipes import CATALOG, FOOLBOX


@pytest.mark.parametrize(
    "name",
    [
        "cifar-10-20",
        "imagenet-20",
        pytest.param("file-types", marks=pytest.mark.slow),
        pytest.param("faces-200", marks=pytest.mark.slow),
        pytest.param("fashion-mnist-50000", marks=pytest.mark.slow),
        pytest.param("speech-or-music", marks=pytest.mark.slow),
    ],
)
def test_a_recipe_makes_the_bytes_that_its_component_names(tmp_path: Path, name: str) -> None:
    """Skipped where neither apt nor a package index can be reached."""
    blobs = BlobFolder(tmp_path / "blobs")
    for artifact in CATALOG.get("dataset", name).artifacts:
        source = Fetch(artifact.name, artifact.size_bytes, artifact.locations)
        try:
            obtain({artifact.sha256: source}, blobs, None, print)
        except FleetmarkError as error:
            if any(word in str(error) for word in ("apt", "pip")):
                pytest.skip(f"cannot be fetched here: {error}")
            raise
        assert blobs.has(artifact.sha256)


def test_a_wheel_of_another_digest_is_refused(tmp_path: Path) -> None:
    place = Location(
        wheel=FOOLBOX[0], wheel_sha256="0" * 64, path="foolbox/VERSION", size_bytes=100
    )
    with pytest.raises(FleetmarkError) as caught:
        fetch_location(place, tmp_path, 6)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    assert "pip could not fetch foolbox-3.3.4-py3-none-any.whl" in str(caught.value)
