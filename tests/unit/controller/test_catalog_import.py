"""Imported models in a home: added once, replaced on request, removed with their benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fleetmark_catalog.load import Catalog
from fleetmark_catalog.resolve import expand, resolve
from fleetmark_controller.api.catalog_import import import_model
from fleetmark_controller.artifacts.catalog_registry import Catalogs
from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_protos.v1 import catalog_pb2
from tests.support.model_files import Value, onnx_graph
from tests.support.sample_devices import HARNESS, sample_device

X, Y = Value("x", "float32", ["batch", 3, "h", "w"]), Value("y", "float32", ["batch", 10])


class Home:
    """A home into which a test imports models."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "m.onnx"
        self.catalogs = Catalogs(folder / "home")
        self.catalog = self.catalogs.load()

    def add(
        self,
        name: str,
        *,
        shape: str = "3x8x8",
        inputs: Sequence[str] = (),
        replace: bool = False,
        opset: int = 17,
    ) -> catalog_pb2.ImportModelReply:
        self._file.write_bytes(onnx_graph([X], [Y], opset=opset))
        request = catalog_pb2.ImportModelRequest(
            sha256=sha256_file(self._file),
            file_name="m.onnx",
            name=name,
            shapes=[shape],
            inputs=inputs,
            replace=replace,
        )
        self.catalog, reply = import_model(self.catalogs, self._file, request)
        assert texts(self.catalogs.load()) == texts(self.catalog)
        return reply


def texts(catalog: Catalog) -> dict[str, str]:
    return {component.id: component.sha256 for component in catalog.all()}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_the_same_import_changes_nothing(home: Home) -> None:
    assert list(home.add("mine").components) == ["model/mine", "benchmark/mine"]
    before = texts(home.catalog)
    for replace in (False, True):
        reply = home.add("mine", replace=replace)
        assert list(reply.components) == []
        assert (reply.name, reply.version) == ("mine", "1.0")
    assert texts(home.catalog) == before


@pytest.mark.parametrize(
    "change", [{"shape": "3x9x9"}, {"inputs": ["uniform:-1:1"]}, {"opset": 16}]
)
def test_another_import_replaces_only_on_request(home: Home, change: dict[str, object]) -> None:
    home.add("mine")
    before = texts(home.catalog)
    with pytest.raises(FleetmarkError, match="from another file or with other options") as caught:
        home.add("mine", **change)  # type: ignore[arg-type]
    assert caught.value.kind is ErrorKind.INVALID_COMPONENT
    assert "--replace" in caught.value.next_step
    assert texts(home.catalogs.load()) == before
    reply = home.add("mine", replace=True, **change)  # type: ignore[arg-type]
    assert (list(reply.components), reply.version) == (["model/mine", "benchmark/mine"], "1.1")
    # The same again is no third version.
    assert home.add("mine", **change).version == "1.1"  # type: ignore[arg-type]
    assert home.add("mine", replace=True).version == "1.2"


@pytest.mark.parametrize("replace", [False, True])
def test_a_component_that_was_not_imported_is_never_replaced(home: Home, replace: bool) -> None:
    before = texts(home.catalogs.load())
    with pytest.raises(FleetmarkError, match="the catalog already has a model 'magika'"):
        home.add("magika", replace=replace)
    assert texts(home.catalogs.load()) == before


def test_a_replacement_that_is_not_valid_leaves_the_old_one(home: Home) -> None:
    home.add("mine")
    before = texts(home.catalog)
    with pytest.raises(FleetmarkError):
        home.catalogs.replace("model", "mine", lambda version: f'kind = "model" # {version}')
    assert texts(home.catalogs.load()) == before


@pytest.mark.parametrize(("opset", "version"), [(23, "1.23.2"), (24, "1.28.0"), (28, "1.32.0")])
def test_a_newer_model_runs_on_the_runtime_that_it_needs(
    home: Home, opset: int, version: str
) -> None:
    home.add("mine", opset=opset)
    configuration = expand(home.catalog, "mine")[0]
    resolution = resolve(home.catalog, configuration, sample_device(), HARNESS)
    assert resolution.lock is not None, resolution.reasons
    found = resolution.lock.job["runtime"]["version"]
    assert tuple(map(int, found.split("."))) >= tuple(map(int, version.split(".")))
    assert found == version or opset == 24


def test_a_model_is_removed_with_its_benchmark(home: Home) -> None:
    before = texts(home.catalog)
    home.add("mine")
    home.add("other")
    catalog, removed = home.catalogs.remove("mine")
    assert removed == ["benchmark/mine", "model/mine"]
    assert texts(catalog) == texts(home.catalogs.load())
    assert set(texts(catalog)) == {*before, "benchmark/other", "model/other"}
    for name in ("mine", "magika", "../model", "."):
        with pytest.raises(FleetmarkError) as caught:
            home.catalogs.remove(name)
        assert caught.value.kind is ErrorKind.NOT_FOUND
    assert list(home.add("mine").components) == ["model/mine", "benchmark/mine"]
