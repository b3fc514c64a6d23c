from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fleetmark_catalog.load import Location, load_catalog
from fleetmark_catalog.resolve import Fetch, WheelSource, expand, resolve
from fleetmark_controller.artifacts import http_download
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.artifacts.download import fetch_location
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.bundles import wheel as make_wheel
from tests.support.confirmed_catalog import with_all_confirmed
from tests.support.sample_devices import HARNESS, sample_device
from tests.unit.controller import test_acquire as unit
from tests.unit.controller.test_acquire import DATA, leftovers

blobs = unit.blobs  # a fixture of the unit tests


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    folder = tmp_path / "web"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_wheel_that_no_index_has_is_named(blobs: BlobFolder) -> None:
    wheel = WheelSource(
        "fleetmark-no-such-thing==1.0",
        "fleetmark_no_such_thing-1.0-py3-none-any.whl",
        "1" * 64,
        10,
        "3.11",
        ("manylinux2014_x86_64",),
    )
    with pytest.raises(FleetmarkError) as caught:
        obtain({wheel.sha256: wheel}, blobs, None, print)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    assert "fleetmark_no_such_thing" in str(caught.value)
    assert "mirror" in caught.value.next_step
    assert leftovers(blobs) == []


def test_two_versions_of_a_distribution_are_fetched_side_by_side(
    blobs: BlobFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One campaign may run two versions of a runtime, though no environment could hold both."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    sources = {}
    for name, version in (("first", "1.0"), ("first", "2.0"), ("other", "1.0")):
        filename, data = make_wheel(name, {f"{name}.py": f"version = {version!r}"}, version)
        (index / filename).write_bytes(data)
        sources[sha256_hex(data)] = WheelSource(
            f"{name}=={version}",
            filename,
            sha256_hex(data),
            len(data),
            "3.11",
            ("manylinux2014_x86_64",),
        )
    obtain(sources, blobs, None, print)
    assert all(blobs.has(sha256) for sha256 in sources)
    assert leftovers(blobs) == []


def test_a_transfer_is_bounded_and_must_stay_on_https(
    tmp_path: Path, web: tuple[Path, str]
) -> None:
    folder, address = web
    (folder / "a").write_bytes(DATA)
    with pytest.raises(FleetmarkError, match="without https"):
        fetch_location(Location(url=f"{address}/a", size_bytes=len(DATA)), tmp_path, len(DATA))


def test_what_was_tried_is_listed(blobs: BlobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_download, "RETRY_DELAYS_S", (0.01, 0.01))
    places = (
        Location(url="https://localhost:1/x.gz", compression="gzip", size_bytes=10),
        Location(deb="fleetmark-no-such-package", path="usr/x", size_bytes=10),
    )
    output: list[str] = []
    with pytest.raises(FleetmarkError) as caught:
        obtain({"2" * 64: Fetch("x", 10, places)}, blobs, None, output.append)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    text = str(caught.value)
    assert "https://localhost:1/x.gz: " in text
    assert "apt package fleetmark-no-such-package: " in text
    assert "2" * 64 in caught.value.next_step
    assert leftovers(blobs) == []
    assert len(output) == 2


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is not installed on this machine")
def test_the_full_data_set_comes_from_debian(blobs: BlobFolder) -> None:
    catalog = load_catalog()
    component = catalog.get("dataset", "fashion-mnist-10000")
    for artifact in component.artifacts:
        deb = tuple(place for place in artifact.locations if place.deb)
        source = Fetch(artifact.name, artifact.size_bytes, deb)
        try:
            obtain({artifact.sha256: source}, blobs, None, print)
        except FleetmarkError as error:
            if "apt-get failed" in str(error) or "no apt" in str(error):
                pytest.skip(str(error))
            raise
        assert blobs.size(artifact.sha256) == artifact.size_bytes


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is not installed on this machine")
def test_a_model_that_cannot_be_reached_names_every_place(tmp_path: Path) -> None:
    catalog = with_all_confirmed(load_catalog())
    configuration = expand(catalog, "network-speed", variations=["kws"])[0]
    resolution = resolve(catalog, configuration, sample_device(), HARNESS)
    assert resolution.lock is not None
    blob = resolution.lock.inputs["model"]
    source = resolution.sources[blob.sha256]
    blobs = BlobFolder(tmp_path / "blobs")
    try:
        obtain({blob.sha256: source}, blobs, None, print)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.ARTIFACT_UNAVAILABLE
        assert "raw.githubusercontent.com/mlcommons/tiny" in str(error)
        assert f"mirror folder under the name {blob.sha256}" in str(error)
    else:
        assert blobs.has(blob.sha256)
