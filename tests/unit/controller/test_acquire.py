from __future__ import annotations

import gzip
import io
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from installer.sources import WheelFile

from fleetmark_catalog.load import BUILTIN, read_folder
from fleetmark_catalog.load.catalog import Catalog
from fleetmark_catalog.resolve import Fetch, LocalFile, expand, resolve
from fleetmark_controller.artifacts import pack_harness
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.digest import sha256_hex
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.sample_devices import HARNESS, sample_device

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
    resolution = resolve(catalog, expand(catalog, "fashion-mnist")[0], sample_device(), HARNESS)
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
    output: list[str] = []
    obtain({good: Fetch("a", len(DATA), ())}, blobs, mirror, output.append)
    assert blobs.has(good)
    assert output == []
    with pytest.raises(FleetmarkError) as caught:
        obtain({bad: Fetch("b", 5, ())}, blobs, mirror, output.append)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    assert "skipping the copy in the mirror folder" in output[0]
    assert not blobs.has(bad)
    assert leftovers(blobs) == []


BAD_ARCHIVES = {
    "bomb": (gzip.compress(bytes(50_000_000)), "unpacks to more than the declared 100 bytes"),
    "cut": (gzip.compress(DATA)[:-20], "truncated"),
    "no gzip": (DATA, "is not a gzip file"),
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
