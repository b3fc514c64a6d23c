"""Imported models in a home: added once, replaced on request, removed with their benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from fleetmark_catalog.load import Catalog
from fleetmark_catalog.resolve import expand, resolve
from fleetmark_controller.api.catalog_import import import_model
from fleetmark_controller.artifacts.catalog_registry import Catalogs
from fleetmark_controller.artifacts.model_import.imported_model import ImportedModel
from fleetmark_controller.artifacts.model_import.value_archive import write_archive
from fleetmark_controller.cli import controller
from fleetmark_controller.trial.outcome import TrialOutcome
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
        home.catalogs.put("mine", {"model": lambda version: f'kind = "model" # {version}'})
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


def npz(folder: Path, rows: int) -> Path:
    """An archive of values for the input of the test's model."""
    path = folder / f"values-{rows}.npz"
    write_archive(path, {"a0": np.zeros((rows, 3, 8, 8), np.float32)})
    return path


class Values:
    """Imports with an archive of values, as the command sends it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "m.onnx"
        self.catalogs = Catalogs(folder / "home")
        self.tries: list[str] = []

    def add(self, rows: int = 0, **options: object) -> catalog_pb2.ImportModelReply:
        self.file.write_bytes(onnx_graph([X], [Y]))
        fields: dict[str, object] = {"shapes": ["3x8x8"], "name": "mine"}
        if rows:
            archive = npz(self.folder, rows)
            fields |= {"inputs": ["x=array:a0"], "values_sha256": f"{rows:064x}"}
            fields["values_size_bytes"] = archive.stat().st_size
        request = catalog_pb2.ImportModelRequest(
            sha256=sha256_file(self.file), file_name="m.onnx", **{**fields, **options}
        )
        blobs = lambda sha256: self.folder / f"values-{int(sha256, 16)}.npz"  # noqa: E731
        _, reply = import_model(self.catalogs, self.file, request, blobs, self._trial)
        return reply

    def _trial(self, catalog: Catalog, model: ImportedModel) -> TrialOutcome:
        self.tries.append(model.name)
        peak = (60 + len(self.tries)) << 20
        return TrialOutcome(runtime="onnxruntime", peak_memory_bytes=peak, samples_per_call=2)

    def of(self, kind: str) -> dict[str, Any]:
        return dict(self.catalogs.load().get(kind, "mine").body)


@pytest.fixture
def stored(tmp_path: Path) -> Values:
    return Values(tmp_path)


def test_values_of_a_file_become_a_data_set(stored: Values) -> None:
    reply = stored.add(rows=5)
    assert list(reply.components) == ["model/mine", "benchmark/mine", "dataset/mine"]
    assert (stored.of("dataset")["layout"], stored.of("dataset")["samples"]) == ("tensors", 5)
    assert stored.of("model")["input"]["array"] == "a0"
    catalog = stored.catalogs.load()
    (configuration, *_) = expand(catalog, "mine")
    lock = resolve(catalog, configuration, sample_device(), HARNESS).lock
    assert lock is not None
    assert lock.inputs["dataset"].sha256 == f"{5:064x}"
    assert list(stored.add(rows=5).components) == []
    # Without the file, the data set goes, and the benchmark takes random samples again.
    reply = stored.add(replace=True)
    assert list(reply.components) == ["model/mine", "benchmark/mine"]
    catalog = stored.catalogs.load()
    assert not catalog.has("dataset", "mine")
    assert {
        choice.name for one in catalog.get("benchmark", "mine").requires for choice in one.choices
    } == {
        "mine",
        "raw-tensors",
        "random-tensors",
    }
    stored.add(rows=3, replace=True)
    _, removed = stored.catalogs.remove("mine")
    assert sorted(removed) == ["benchmark/mine", "dataset/mine", "model/mine"]


def test_the_trial_gives_the_footprint_and_is_not_repeated(stored: Values) -> None:
    reply = stored.add()
    assert reply.trial.peak_memory_bytes == 61 << 20
    footprint = {"peak_memory_bytes": 61 << 20, "batch": 2}
    assert stored.of("model")["footprint"] == footprint
    reply = stored.add(replace=True)
    assert (list(reply.components), reply.HasField("trial"), stored.tries) == ([], False, ["mine"])
    assert stored.of("model")["footprint"] == footprint


def test_an_update_keeps_the_options(stored: Values) -> None:
    stored.add(rows=5, title="Mine", license="MIT", batch_axes=["y=0"])
    stored.file.unlink()
    reply = stored.add(
        update=True, shapes=[], inputs=[], values_sha256="", precision="int8", title=""
    )
    assert reply.version == "1.1"
    model = stored.catalogs.load().get("model", "mine")
    assert (model.title, model.license, model.body["precision"]) == ("Mine", "MIT", "int8")
    assert model.body["input"]["array"] == "a0"
    assert stored.of("dataset")["samples"] == 5
    # Options of the update are those of the next one.
    reply = stored.add(update=True, shapes=[], inputs=["x=uniform:-1:1"], license="BSD")
    model = stored.catalogs.load().get("model", "mine")
    assert (model.body["precision"], model.license) == ("int8", "BSD")
    assert model.body["input"]["range"] == [-1, 1]
    assert not stored.catalogs.load().has("dataset", "mine")


def test_an_update_needs_an_import(stored: Values) -> None:
    with pytest.raises(FleetmarkError, match="no imported model is called 'mine'"):
        stored.add(update=True)
    for name in ("../../m", "", ".", "fashion-mnist-dscnn"):
        with pytest.raises(FleetmarkError, match="no imported model is called"):
            stored.add(update=True, name=name)
    stored.add()
    (stored.folder / "home/catalog/model/mine/import.json").write_text("[]")
    with pytest.raises(FleetmarkError, match="cannot be read"):
        stored.add(update=True)


def test_a_model_that_does_not_run_changes_nothing(stored: Values) -> None:
    def refuse(catalog: Catalog, model: ImportedModel) -> TrialOutcome:
        raise FleetmarkError(ErrorKind.BAD_DOCUMENT, "the model does not run")

    stored.add()
    before = texts(stored.catalogs.load())
    stored._trial = refuse  # type: ignore[method-assign]
    with pytest.raises(FleetmarkError, match="does not run"):
        stored.add(shapes=["3x9x9"], replace=True)
    assert texts(stored.catalogs.load()) == before


@pytest.mark.parametrize(
    ("dataset", "x", "says"),
    [
        ("fashion-mnist-1000", ["n", 1, 28, 28], ""),
        ("cifar-10-20", ["n", 3, 32, 32], ""),
        ("fashion-mnist-1000", ["n", 3, 8, 8], "does not fit"),
        ("imagenet-20", ["n", 1, 224, 224], "does not fit: its samples are RGB pictures"),
        ("random-tensors", ["n", 4, 4], "has no samples of its own"),
        ("no-such", ["n", 4, 4], "has no dataset 'no-such'"),
    ],
)
def test_a_data_set_gives_the_samples(
    stored: Values, dataset: str, x: list[int | str], says: str
) -> None:
    stored.file.write_bytes(onnx_graph([Value("x", "float32", x)], [Y]))
    request = catalog_pb2.ImportModelRequest(
        sha256="0" * 64, file_name="m.onnx", name="mine", inputs=[f"x=dataset/{dataset}"]
    )
    if says:
        with pytest.raises(FleetmarkError, match=says):
            import_model(stored.catalogs, stored.file, request)
        return
    catalog, _ = import_model(stored.catalogs, stored.file, request)
    (configuration, *_) = expand(catalog, "mine")
    lock = resolve(catalog, configuration, sample_device(), HARNESS).lock
    assert lock is not None
    assert lock.job["dataset"]["name"] == dataset
    assert lock.job["model"]["input"]["scale"] == pytest.approx(1 / 255)


def test_an_edited_folder_is_read_again(tmp_path: Path) -> None:
    catalogs, folder = Catalogs(tmp_path / "home"), tmp_path / "own"
    (tmp_path / "home").mkdir()
    file = folder / "suite" / "mine" / "component.toml"
    file.parent.mkdir(parents=True)
    text = (
        'kind = "suite"\nname = "mine"\nversion = "1.0"\ntitle = "One"\ntags = []\n'
        'license = "MIT"\n[[suite.members]]\nbenchmark = "fashion-mnist"\n'
    )
    file.write_text(text)
    assert catalogs.add(str(folder))[1] == ["suite/mine"]
    # The same version with other content is what an edited folder has.
    file.write_text(text.replace("One", "Two"))
    catalog, components = catalogs.add(str(folder))
    assert (catalog.get("suite", "mine").title, components) == ("Two", ["suite/mine"])
    file.write_text(text.replace("fashion-mnist", "no-such"))
    with pytest.raises(FleetmarkError, match="no benchmark 'no-such'"):
        catalogs.add(str(folder))
    _, places = catalogs.places()
    assert [place.location for place in places] == [str(folder)]


class Labeled(Values):
    """Imports with labeled samples, as the command sends them."""

    def label(self, labels: object, **options: object) -> catalog_pb2.ImportModelReply:
        arrays = {"x": np.zeros((3, 3, 8, 8), np.float32)}
        if labels is not None:
            arrays["y"] = np.array(labels)
        write_archive(self.folder / "values-7.npz", arrays)
        fields = {"inputs": ["x=array:x"], "values_sha256": f"{7:064x}", "metric": "top-1"}
        return self.add(values_size_bytes=1, **{**fields, **options})


def test_samples_with_labels_give_a_benchmark_with_accuracy(tmp_path: Path) -> None:
    stored = Labeled(tmp_path)
    reply = stored.label([0, 1, 9])
    assert list(reply.components) == ["model/mine", "benchmark/mine", "dataset/mine"]
    assert stored.of("dataset")["labels"] == "y"
    benchmark = stored.of("benchmark")
    assert benchmark["modes"] == ["performance", "accuracy"]
    assert benchmark["quality"] == {"metric": "top-1"}
    catalog = stored.catalogs.load()
    modes = {configuration.mode for configuration in expand(catalog, "mine")}
    assert modes == {"performance", "accuracy"}
    assert list(stored.label([0, 1, 9]).components) == []
    with pytest.raises(FleetmarkError, match="with other options"):
        stored.label([0, 1, 9], metric="top-2")
    reply = stored.label([0, 1, 9], metric="top-2", replace=True)
    assert "benchmark/mine" in reply.components
    assert stored.of("benchmark")["quality"] == {"metric": "top-2"}
    # An update keeps samples, labels and metric.
    stored.add(update=True, title="Mine", shapes=[])
    assert stored.of("benchmark")["quality"] == {"metric": "top-2"}
    assert stored.of("dataset")["labels"] == "y"
    # Without labels, only the speed is measured.
    stored.add(rows=2, replace=True)
    assert stored.of("benchmark")["modes"] == ["performance"]
    assert "labels" not in stored.of("dataset")


@pytest.mark.parametrize(
    ("labels", "options", "says"),
    [
        (None, {}, "has no array y"),
        ([0, 1], {}, "2 labels belong to 3 samples"),
        ([0, 1, -1], {}, "-1 to 1"),
        ([0, 1, 10], {}, "class 10"),
        ([0.0, 1.0, float("nan")], {}, "expected integers"),
        ([0, 1, 2], {"metric": "top-10"}, "too few for top-10"),
        ([0, 1, 2], {"metric": "best"}, "is not a metric"),
        ([0, 1, 2], {"inputs": []}, "needs samples with labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, labels: object, options: dict[str, object], says: str
) -> None:
    stored = Labeled(tmp_path)
    with pytest.raises(FleetmarkError, match=says) as caught:
        stored.label(labels, **options)
    assert caught.value.kind is ErrorKind.USAGE
    assert not stored.catalogs.load().has("model", "mine")


def test_new_samples_of_an_update_need_a_metric(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    file.write_bytes(b"")
    given = ["catalog", "update", "mine", str(file), "--dataset", str(tmp_path / "new.npz")]
    result = CliRunner().invoke(controller, given)
    assert result.exit_code == 2
    assert "--dataset needs --metric in an update" in result.output
    # With a metric, the file itself is read.
    result = CliRunner().invoke(controller, [*given, "--metric", "f1"])
    assert "needs --metric" not in result.output
    assert result.exit_code != 0


def test_an_update_keeps_no_labels_of_another_metric(tmp_path: Path) -> None:
    stored = Labeled(tmp_path)
    stored.label(np.array([0, 1, 255], np.uint8), metric="f1", shapes=["3x8x8"])
    before = texts(stored.catalogs.load())
    with pytest.raises(FleetmarkError, match="those of another metric than top-1"):
        stored.add(update=True, shapes=[], inputs=[], values_sha256="", metric="top-1")
    assert texts(stored.catalogs.load()) == before
