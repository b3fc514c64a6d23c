"""A name that is no benchmark is answered with what it may mean and how to provide it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_catalog.load import Catalog, Component, load_catalog
from fleetmark_catalog.resolve import expand
from fleetmark_catalog.resolve.well_known_models import WELL_KNOWN, WellKnownModel, find_well_known
from fleetmark_core.errors import ErrorKind, FleetmarkError

CATALOG = load_catalog()


def message(name: str, catalog: Catalog = CATALOG) -> str:
    with pytest.raises(FleetmarkError) as caught:
        expand(catalog, name)
    assert caught.value.kind is ErrorKind.NOT_FOUND
    text = str(caught.value)
    assert text.isprintable() and len(text) < 500
    return text


def test_a_missing_mlperf_model_says_where_it_comes_from_and_how_to_provide_it() -> None:
    assert message("resnet50") == (
        "the catalog has no benchmark or suite 'resnet50': the model (image classification of"
        " MLPerf Inference) is missing. Get resnet50_v1.onnx from"
        " https://zenodo.org/record/4735647, then run `controller catalog import resnet50_v1.onnx"
        " --name resnet50` and `controller schedule resnet50`"
    )


@pytest.mark.parametrize("known", WELL_KNOWN, ids=lambda known: known.name)
def test_every_well_known_model_is_found_by_all_its_names(known: WellKnownModel) -> None:
    for name in (known.name, known.name.upper(), known.name.replace("-", "_"), *known.others):
        assert find_well_known(name) is known
    assert known.file.endswith((".onnx", ".tflite")), "the import accepts it"
    assert known.file in message(known.name) and known.place in message(known.name)
    assert not CATALOG.has("benchmark", known.name) and not CATALOG.has("model", known.name)


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("ResNet-50", "resnet50"),
        ("resnet50_v1.5", "resnet50"),
        ("BERT-99.9", "bert-large"),
        ("3d_unet", "3d-unet"),
        ("deeplabv3+", "deeplabv3"),
        ("SSD-MobileNet", "ssd-mobilenet"),
    ],
)
def test_spelling_does_not_matter(name: str, model: str) -> None:
    assert f"--name {model}`" in message(name)


def test_typing_errors_suggest_each_kind_and_the_import() -> None:
    text = message("fashion-mnits")
    assert "Did you mean benchmark 'fashion-mnist' or model 'fashion-mnist-" in text
    assert "suite 'default'" in message("defualt")
    assert "suite 'mlperf-tiny' or model 'mlperf-tiny-" in message("mlperf-tyni")
    for name in ("fashion-mnits", "defualt", "zzzzzzzz"):
        assert "For a model of your own, run `controller catalog import FILE`" in message(name)


def test_a_name_like_no_other_lists_the_known_ones() -> None:
    assert "Known: cifar-10, default, face-detection" in message("zzzzzzzz")


def test_an_empty_catalog_names_the_import_alone() -> None:
    assert message("fashion", Catalog([])).endswith(
        ". For a model of your own, run `controller catalog import FILE`"
    )


def test_a_model_of_the_catalog_names_its_benchmarks() -> None:
    assert message("magika") == (
        "'magika' is a model, and jobs run a benchmark or a suite. Run"
        " `controller schedule network-speed --variation magika`"
    )
    assert "Run `controller schedule fashion-mnist`" in message("fashion-mnist-dscnn")


@pytest.mark.parametrize("model", CATALOG.all("model"), ids=lambda part: part.name)
def test_every_model_of_the_catalog_can_be_scheduled_as_said(model: Component) -> None:
    name = model.name
    if CATALOG.has("benchmark", name) or CATALOG.has("suite", name):
        return
    words = message(name).partition("`controller schedule ")[2].partition("`")[0].split()
    assert expand(CATALOG, words[0], variations=words[2:])


@given(st.text(max_size=300))
def test_any_name_has_a_bounded_answer(name: str) -> None:
    if not CATALOG.has("benchmark", name) and not CATALOG.has("suite", name):
        message(name)
