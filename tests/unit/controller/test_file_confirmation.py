"""Files of which the publisher states only an MD5: checked, then confirmed, then part of a release.

The model of the tests is one that the catalog ships; a component declares it by its MD5 alone.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_catalog.load import BUILTIN, Catalog, Component, load_catalog
from fleetmark_catalog.load.release_definitions import definition
from fleetmark_catalog.resolve import Resolution, expand, resolve
from fleetmark_controller.api.file_confirmation import component_to_confirm, confirm_files
from fleetmark_controller.artifacts.catalog_registry import Catalogs
from fleetmark_controller.artifacts.check_files import check_files, verify_confirmation
from fleetmark_controller.artifacts.fetch_plan import sources_of
from fleetmark_controller.artifacts.file_confirmations import (
    CONFIRMATIONS_FILE,
    CheckedFile,
    FileConfirmations,
)
from fleetmark_controller.artifacts.local_files import find_all
from fleetmark_controller.signing.release_builder import covers, missing_from, propose
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import catalog_pb2
from tests.support.sample_devices import HARNESS, sample_device

SOURCE = BUILTIN / "model" / "fashion-mnist-dscnn" / "dscnn_fp32.onnx"
DATA = SOURCE.read_bytes()
OTHER = (SOURCE.parent / "dscnn_int8.onnx").read_bytes()
MD5 = hashlib.md5(DATA, usedforsecurity=False).hexdigest()
SHA256 = hashlib.sha256(DATA).hexdigest()
MODEL = f"""
kind = "model"
name = "hinted"
version = "1.0"
title = "A model of which only an MD5 is known"
license = "MIT"
[model]
task = "image-classification"
format = "onnx"
input = {{ name = "image", layout = "NHWC", shape = [28, 28, 1] }}
output = {{ name = "probs", classes = 10 }}
[[artifacts]]
name = "hinted.onnx"
role = "model"
md5 = "{MD5}"
[[artifacts.locations]]
provided = "sign at example.org"
size_bytes = {len(DATA)}
"""
BENCHMARK = """
kind = "benchmark"
name = "hinted"
extends = "fashion-mnist"
[[requires]]
role = "model"
component = "model/hinted"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hinted-catalog"
    for kind, text in (("model", MODEL), ("benchmark", BENCHMARK)):
        place = folder / kind / "hinted"
        place.mkdir(parents=True)
        (place / "component.toml").write_text(text)
    return folder


@pytest.fixture
def catalogs(tmp_path: Path, folder: Path) -> Catalogs:
    return Catalogs(tmp_path / "home", [folder])


@pytest.fixture(autouse=True)
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def blobs(tmp_path: Path) -> BlobFolder:
    return BlobFolder(tmp_path / "blobs")


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / MD5).write_bytes(DATA)
    return mirror


def check(component: Component, blobs: BlobFolder, mirror: Path | None) -> list[CheckedFile]:
    return check_files(component, (), (), (), blobs, mirror, lambda text: None)


def kind_of(caught: pytest.ExceptionInfo[FleetmarkError]) -> ErrorKind:
    return caught.value.kind


def resolution(catalog: Catalog) -> Resolution:
    return resolve(catalog, expand(catalog, "hinted")[0], sample_device(), HARNESS)


def request(*files: CheckedFile, withdraw: bool = False) -> catalog_pb2.ConfirmFilesRequest:
    return catalog_pb2.ConfirmFilesRequest(
        component="model/hinted",
        files=[
            catalog_pb2.CheckedFile(name=f.name, sha256=f.sha256, size_bytes=f.size_bytes)
            for f in files
        ],
        withdraw=withdraw,
    )


def test_without_a_confirmation_nothing_runs_and_no_release_has_the_file(
    catalogs: Catalogs,
) -> None:
    catalog = catalogs.load()
    found = resolution(catalog)
    assert found.lock is None and not found.sources
    assert found.reasons == (
        "unsigned: the publisher of model/hinted states only the MD5 of hinted.onnx; an admin must "
        "run `controller catalog confirm model/hinted`",
    )
    assert definition(catalog.get("model", "hinted"))["artifacts"] == []
    with pytest.raises(FleetmarkError) as caught:
        sources_of(catalog, "model/hinted", ())
    assert "controller catalog confirm model/hinted" in str(caught.value)


def test_a_confirmed_file_runs_and_a_new_release_has_it(
    catalogs: Catalogs, blobs: BlobFolder, mirror: Path
) -> None:
    before = catalogs.load()
    old = propose(before, HARNESS, {}, now_s=1, life_s=10)
    component = component_to_confirm(before, "hinted")
    (checked,) = check(component, blobs, mirror)
    assert (checked.sha256, checked.size_bytes) == (SHA256, len(DATA))
    assert (checked.confirmed_by, checked.obtained_from) == ("", "the mirror folder")
    catalogs.record_checked([checked])
    assert resolution(catalogs.load()).lock is None, "a check alone confirms nothing"
    files = confirm_files(catalogs, component, request(checked), blobs, "operator alice")
    after = catalogs.record_files(files)
    lock = resolution(after).lock
    assert lock is not None and lock.inputs["model"].sha256 == SHA256
    new = propose(after, HARNESS, {}, now_s=2, life_s=10, last=old)
    assert not covers(old, new)
    assert missing_from(new, lock.canonical()) == ""
    assert "hinted.onnx" in missing_from(old, lock.canonical()), "waits until a release is signed"
    (stored,) = Catalogs(catalogs.imported_folder.parent).checked_files("model/hinted")
    assert (stored.confirmed_by, stored.obtained_from) == ("operator alice", "the mirror folder")
    # A withdrawn confirmation: the lockfile does not follow from the next release.
    back = confirm_files(catalogs, component, request(checked, withdraw=True), blobs, "bob")
    final = catalogs.record_files(back)
    assert resolution(final).lock is None
    last = propose(final, HARNESS, {}, now_s=3, life_s=10, last=new, needed=[lock.canonical()])
    assert "hinted.onnx" in missing_from(last, lock.canonical())


def test_another_md5_is_refused_and_nothing_is_stored(
    catalogs: Catalogs, blobs: BlobFolder, mirror: Path
) -> None:
    component = catalogs.load().get("model", "hinted")
    (mirror / MD5).write_bytes(OTHER)
    with pytest.raises(FleetmarkError) as caught:
        check(component, blobs, mirror)
    assert kind_of(caught) is ErrorKind.DIGEST_MISMATCH
    assert f"its publisher states {MD5}" in str(caught.value)
    assert not list(blobs)
    sha256 = blobs.put_bytes(OTHER)
    with pytest.raises(FleetmarkError) as caught:
        check_files(component, (), (), [sha256], blobs, None, lambda text: None)
    assert kind_of(caught) is ErrorKind.DIGEST_MISMATCH
    with pytest.raises(FleetmarkError) as caught:
        verify_confirmation(component, "hinted.onnx", sha256, len(OTHER), blobs)
    assert kind_of(caught) is ErrorKind.DIGEST_MISMATCH


@pytest.mark.parametrize("changed", [OTHER, DATA + b"x", DATA[:-1]])
def test_bytes_that_change_between_check_and_confirmation_are_refused(
    catalogs: Catalogs, blobs: BlobFolder, mirror: Path, changed: bytes
) -> None:
    component = catalogs.load().get("model", "hinted")
    (checked,) = check(component, blobs, mirror)
    blobs.path(SHA256).chmod(0o600)
    blobs.path(SHA256).write_bytes(changed)
    with pytest.raises(FleetmarkError) as caught:
        confirm_files(catalogs, component, request(checked), blobs, "alice")
    assert kind_of(caught) is ErrorKind.DIGEST_MISMATCH
    assert catalogs.load().get("model", "hinted").artifacts[0].sha256 == ""
    # The next check replaces the damaged bytes.
    assert check_files(component, (), [checked], (), blobs, mirror, lambda text: None) == [checked]
    assert blobs.path(SHA256).read_bytes() == DATA


def test_only_checked_bytes_of_this_size_can_be_confirmed(
    catalogs: Catalogs, blobs: BlobFolder, mirror: Path
) -> None:
    component = catalogs.load().get("model", "hinted")
    (checked,) = check(component, blobs, mirror)
    for wrong, kind in (
        (replace(checked, sha256="0" * 64), ErrorKind.BLOB_MISSING),
        (replace(checked, sha256="../../etc/passwd"), ErrorKind.BLOB_MISSING),
        (replace(checked, size_bytes=checked.size_bytes + 1), ErrorKind.DIGEST_MISMATCH),
        (replace(checked, name="another.onnx"), ErrorKind.NOT_FOUND),
    ):
        with pytest.raises(FleetmarkError) as caught:
            confirm_files(catalogs, component, request(wrong), blobs, "alice")
        assert kind_of(caught) is kind
    with pytest.raises(FleetmarkError):
        confirm_files(catalogs, component, request(), blobs, "alice")
    with pytest.raises(FleetmarkError, match="is not confirmed"):
        confirm_files(catalogs, component, request(checked, withdraw=True), blobs, "alice")


def test_what_is_missing_and_where_to_put_it_is_said(catalogs: Catalogs, blobs: BlobFolder) -> None:
    component = catalogs.load().get("model", "hinted")
    with pytest.raises(FleetmarkError) as caught:
        check(component, blobs, None)
    text = str(caught.value)
    assert kind_of(caught) is ErrorKind.ARTIFACT_UNAVAILABLE
    assert "it must be provided: sign at example.org" in text
    assert f"mirror folder under the name {MD5}" in text
    assert "`controller catalog import-files model/hinted DIR`" in text


def test_a_file_of_an_operator_is_found_by_its_md5(
    catalogs: Catalogs, blobs: BlobFolder, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    with pytest.raises(FleetmarkError, match=f"hinted.onnx .md5 {MD5}"):
        find_all(given, {}, {MD5: "hinted.onnx"})
    (given / "renamed.onnx").write_bytes(DATA)
    found, unsigned = find_all(given, {}, {MD5: "hinted.onnx"})
    assert not found and unsigned == {"hinted.onnx": given / "renamed.onnx"}
    sha256 = blobs.put_bytes(DATA)
    component = catalogs.load().get("model", "hinted")
    (checked,) = check_files(component, (), (), [sha256], blobs, None, lambda text: None)
    assert (checked.sha256, checked.obtained_from) == (SHA256, "files of an operator")


def test_a_pickle_with_the_right_md5_is_refused(
    folder: Path, home: Path, blobs: BlobFolder, mirror: Path
) -> None:
    pickled = b"\x80\x04\x95" + b"a" * 100
    md5 = hashlib.md5(pickled, usedforsecurity=False).hexdigest()
    (folder / "model" / "hinted" / "component.toml").write_text(MODEL.replace(MD5, md5))
    (mirror / md5).write_bytes(pickled)
    with pytest.raises(FleetmarkError) as caught:
        check(Catalogs(home, [folder]).load().get("model", "hinted"), blobs, mirror)
    assert kind_of(caught) is ErrorKind.BAD_DOCUMENT


def test_a_confirmation_is_of_one_md5_of_one_component(
    catalogs: Catalogs, folder: Path, home: Path
) -> None:
    file = CheckedFile("model/hinted", "hinted.onnx", MD5, SHA256, len(DATA), "", "alice", 1)
    catalogs.record_files([file])
    assert catalogs.load().get("model", "hinted").artifacts[0].sha256 == SHA256
    (folder / "model" / "hinted" / "component.toml").write_text(MODEL.replace(MD5, "0" * 32))
    assert Catalogs(home, [folder]).load().get("model", "hinted").artifacts[0].sha256 == ""


def test_a_later_check_does_not_undo_a_confirmation(catalogs: Catalogs) -> None:
    file = CheckedFile("model/hinted", "hinted.onnx", MD5, SHA256, len(DATA), "", "alice", 1)
    catalogs.record_files([file])
    catalogs.record_checked([replace(file, confirmed_by="", confirmed_unix_s=0)])
    assert catalogs.checked_files("model/hinted") == [file]


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '[{"name": "x"}]', '[{"sha256": 3}]', '[{"evil": "x"}]']
)
def test_a_damaged_list_is_named(home: Path, catalogs: Catalogs, text: str) -> None:
    (home / CONFIRMATIONS_FILE).write_text(text)
    with pytest.raises(FleetmarkError) as caught:
        catalogs.load()
    assert kind_of(caught) is ErrorKind.INVALID_COMPONENT
    assert str(home / CONFIRMATIONS_FILE) == caught.value.where


@given(
    st.lists(
        st.builds(
            CheckedFile,
            component=st.text(max_size=20),
            name=st.text(max_size=20),
            md5=st.from_regex("[0-9a-f]{32}", fullmatch=True),
            sha256=st.from_regex("[0-9a-f]{64}", fullmatch=True),
            size_bytes=st.integers(0, 1 << 40),
            confirmed_by=st.text(max_size=20),
            confirmed_unix_s=st.integers(0, 1 << 40),
        ),
        max_size=4,
        unique_by=lambda file: file.key,
    )
)
def test_what_is_recorded_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, files: list[CheckedFile]
) -> None:
    home = tmp_path_factory.mktemp("home")
    for file in files:
        FileConfirmations(home).put([file])
    assert FileConfirmations(home).load() == {file.key: file for file in files}
    if files:
        assert json.loads((home / CONFIRMATIONS_FILE).read_bytes())


def test_the_shipped_catalog_has_models_to_confirm() -> None:
    catalog = load_catalog()
    hinted = [part for part in catalog.all() if any(a.md5 for a in part.artifacts)]
    assert {"resnet50", "bert-large", "mobilebert"} <= {part.name for part in hinted}
    assert component_to_confirm(catalog, "resnet50").id == "model/resnet50"
