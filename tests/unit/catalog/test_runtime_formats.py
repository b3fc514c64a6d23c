"""No job gives a model to a runtime that does not read its format."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetmark_catalog.load import Catalog, Component, load_catalog
from fleetmark_catalog.resolve import Configuration, expand, resolve
from fleetmark_catalog.resolve.runtime_formats import FORMATS, format_mismatch
from fleetmark_controller.artifacts.model_formats.runtime_limits import onnx_limits
from fleetmark_controller.artifacts.model_import.components import ImportRequest
from fleetmark_controller.artifacts.model_import.imported_model import component_of
from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import Lockfile
from fleetmark_harness import adapters
from tests.support.examples import examples
from tests.support.sample_devices import HARNESS, sample_device

BUILTIN = load_catalog()
ENDINGS = ("onnx", "tflite")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The catalog with an imported model of each format."""
    folder = tmp_path_factory.mktemp("imported")
    models = BUILTIN.get("model", "fashion-mnist-dscnn")
    for ending in ENDINGS:
        file = models.path(f"dscnn_fp32.{ending}")
        wanted = ImportRequest(file.name, name=f"own-{ending}")
        model = component_of(file, sha256_file(file), wanted, onnx_limits(BUILTIN))
        for kind, document in model.texts().items():
            path = Path(folder, kind, model.name, "component.toml")
            path.parent.mkdir(parents=True)
            path.write_text(document)
    return load_catalog([folder])


def words_of(catalog: Catalog, benchmark: Component) -> list[str]:
    """The words about format and runtime that the benchmark or its components know."""
    parts = [benchmark]
    for requirement in benchmark.requires:
        parts.append(catalog.get(requirement.choices[0].kind, requirement.choices[0].name))
    groups = ("format", "runtime", "network", "precision")
    return sorted(
        {name for part in parts for name, v in part.variations.items() if v.group in groups}
    )


def assert_readable(catalog: Catalog, lock: Lockfile) -> None:
    adapter = lock.job["runtime"]["name"]
    assert lock.job["model"]["format"] in FORMATS[adapter]
    assert lock.inputs["model"].name.rpartition(".")[2] in FORMATS[adapter]


def test_every_adapter_of_the_harness_has_its_formats() -> None:
    assert set(FORMATS) == set(adapters._MODULES)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_imported_model_runs_on_its_own_runtime(imported: Catalog, ending: str) -> None:
    (configuration, *_) = expand(imported, f"own-{ending}")
    lock = resolve(imported, configuration, sample_device(), HARNESS).lock
    assert lock is not None
    assert_readable(imported, lock)


@pytest.mark.parametrize(
    ("ending", "word", "runtime"),
    [
        ("tflite", "onnx", "package/onnxruntime reads onnx, ort"),
        ("tflite", "openvino", "package/openvino reads onnx"),
        ("tflite", "onnxruntime-1.28", "package/onnxruntime reads onnx, ort"),
        ("onnx", "tflite", "package/ai-edge-litert reads tflite"),
        ("onnx", "tflite-runtime", "package/tflite-runtime reads tflite"),
    ],
)
def test_a_wrong_format_is_refused_with_both_named(
    imported: Catalog, ending: str, word: str, runtime: str
) -> None:
    (configuration, *_) = expand(imported, f"own-{ending}", variations=[word])
    with pytest.raises(FleetmarkError) as caught:
        resolve(imported, configuration, sample_device(), HARNESS)
    assert caught.value.kind is ErrorKind.NOTHING_FITS
    assert f"model/own-{ending} is in format {ending}, and {runtime}" in str(caught.value)


@settings(max_examples=examples(150), deadline=None)
@given(st.data())
def test_no_combination_of_words_sends_a_model_to_another_runtime(
    imported: Catalog, data: st.DataObject
) -> None:
    benchmark = data.draw(
        st.sampled_from([part for part in imported.all("benchmark") if part.requires])
    )
    known = words_of(imported, benchmark)
    words = data.draw(st.lists(st.sampled_from(known), max_size=3, unique=True)) if known else []
    try:
        found: list[Configuration] = expand(imported, benchmark.name, variations=words)
        locks = [resolve(imported, item, sample_device(), HARNESS).lock for item in found[:2]]
    except FleetmarkError:
        return
    for lock in locks:
        if lock is not None and lock.job.get("runtime"):
            assert_readable(imported, lock)


def test_what_is_not_known_is_not_refused() -> None:
    assert format_mismatch("model/a", "", "package/onnxruntime", "onnxruntime") == ""
    assert format_mismatch("model/a", "gguf", "package/own", "own") == ""
    assert "is in format gguf" in format_mismatch("model/a", "gguf", "package/tflite", "tflite")
