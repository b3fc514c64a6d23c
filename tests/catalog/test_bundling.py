from __future__ import annotations

import gzip
import io
import shutil
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from boards import HARNESS, board
from bundles import wheel as make_wheel
from installer.sources import WheelFile

from fleetmark_catalog.load import BUILTIN, Location, load_catalog, read_folder
from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.resolve import Fetch, LocalFile, WheelSource, expand, resolve
from fleetmark_controller.artifacts import pack_harness
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.artifacts.download import fetch_location
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError

DATA = b"some bytes" * 1000


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "blobs")


def leftovers(blobs: BlobFolder) -> list[Path]:
    return list((blobs.root / "partial").glob("*")) if (blobs.root / "partial").is_dir() else []


def test_the_harness_packs_to_the_same_bytes_everywhere(tmp_path: Path) -> None:
    first, data = pack_harness()
    # Other times, other order, caches of the interpreter: nothing of it may show.
    source = BUILTIN.parent.parent / "fleetmark_harness"
    copy = tmp_path / "with spaces" / "fleetmark_harness"
    shutil.copytree(source, copy, copy_function=shutil.copyfile)
    (copy / "__pycache__").mkdir(exist_ok=True)
    (copy / "__pycache__" / "run.cpython-311.pyc").write_bytes(b"x")
    second, other = pack_harness(copy)
    assert (first, data) == (second, other)
    assert first.sha256 == sha256_hex(data)
    assert "fleetmark_harness.run" not in sys.modules


def test_the_packed_harness_is_a_sound_wheel(tmp_path: Path) -> None:
    ref, data = pack_harness()
    path = tmp_path / ref.name
    path.write_bytes(data)
    with WheelFile.open(path) as wheel:
        wheel.validate_record()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert "fleetmark_harness/run.py" in archive.namelist()
        assert "fleetmark_harness/adapters/tflite.py" in archive.namelist()


def test_a_changed_model_is_found_before_anything_runs(tmp_path: Path, blobs: BlobFolder) -> None:
    shutil.copytree(BUILTIN, tmp_path / "components")
    catalog = Catalog(read_folder(tmp_path / "components"))
    resolution = resolve(catalog, expand(catalog, "fashion-mnist")[0], board(), HARNESS)
    local = {k: s for k, s in resolution.sources.items() if isinstance(s, LocalFile)}
    obtain(local, blobs, None, print)
    model = tmp_path / "components" / "model" / "fashion-mnist-dscnn" / "dscnn_fp32.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"?")
    # Also when the true bytes are in the folder from before.
    with pytest.raises(FleetmarkError) as caught:
        obtain(local, blobs, None, print)
    assert caught.value.kind is ErrorKind.DIGEST_MISMATCH
    text = str(caught.value)
    assert str(model) in text
    assert resolution.lock is not None
    assert resolution.lock.inputs["model"].sha256 in text
    assert sha256_hex(model.read_bytes()) in text


def test_a_missing_file_of_a_component_is_named(tmp_path: Path, blobs: BlobFolder) -> None:
    with pytest.raises(FleetmarkError) as caught:
        obtain({"0" * 64: LocalFile("a", 1, tmp_path / "gone")}, blobs, None, print)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    assert str(tmp_path / "gone") in str(caught.value)


def test_the_mirror_comes_first_and_is_not_trusted(tmp_path: Path, blobs: BlobFolder) -> None:
    good, bad = sha256_hex(DATA), sha256_hex(b"other")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / good).write_bytes(DATA)
    (mirror / bad).write_bytes(b"not it")
    said: list[str] = []
    obtain({good: Fetch("a", len(DATA), ())}, blobs, mirror, said.append)
    assert blobs.has(good)
    assert said == []
    with pytest.raises(FleetmarkError) as caught:
        obtain({bad: Fetch("b", 5, ())}, blobs, mirror, said.append)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    assert "mirror's copy is not used" in said[0]
    assert not blobs.has(bad)
    assert leftovers(blobs) == []


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


def test_a_transfer_is_bounded_and_must_stay_on_https(
    tmp_path: Path, web: tuple[Path, str]
) -> None:
    folder, address = web
    (folder / "a").write_bytes(DATA)
    with pytest.raises(FleetmarkError, match="not https"):
        fetch_location(Location(url=f"{address}/a", size_bytes=len(DATA)), tmp_path, len(DATA))


BAD_ARCHIVES = {
    "bomb": (gzip.compress(bytes(50_000_000)), "unpacks to more than the declared 100 bytes"),
    "cut": (gzip.compress(DATA)[:-20], "cut short"),
    "no gzip": (DATA, "is no gzip file"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_a_bad_archive_is_refused(tmp_path: Path, case: str) -> None:
    from fleetmark_controller.artifacts.download import unpack_gzip

    data, expected = BAD_ARCHIVES[case]
    (tmp_path / "raw").write_bytes(data)
    limit = 100 if case == "bomb" else len(DATA)
    with pytest.raises(FleetmarkError, match=expected):
        unpack_gzip(tmp_path / "raw", tmp_path / "out", limit)
    assert (tmp_path / "out").stat().st_size <= 1 << 20


def test_what_was_tried_is_listed(blobs: BlobFolder) -> None:
    places = (
        Location(url="https://localhost:1/x.gz", compression="gzip", size_bytes=10),
        Location(deb="fleetmark-no-such-package", path="usr/x", size_bytes=10),
    )
    said: list[str] = []
    with pytest.raises(FleetmarkError) as caught:
        obtain({"2" * 64: Fetch("x", 10, places)}, blobs, None, said.append)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    text = str(caught.value)
    assert "https://localhost:1/x.gz: " in text
    assert "apt package fleetmark-no-such-package: " in text
    assert "2" * 64 in caught.value.next_step
    assert leftovers(blobs) == []
    assert len(said) == 2


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="this machine has no apt")
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
