"""A name that is no benchmark is answered with what it may mean and how to provide it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_catalog.load import Catalog, Component, load_catalog
from fleetmark_catalog.resolve import expand
from fleetmark_catalog.resolve.well_known_models import (
    ALIASES,
    WELL_KNOWN,
    WellKnownModel,
    find_alias,
    find_well_known,
)
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
    assert message("SSD-MobileNet-v2") == (
        "the catalog has no benchmark or suite 'SSD-MobileNet-v2': the model (object detection of"
        " MLPerf Mobile v0.7) is missing. Get ssd_mobilenet_v2_300_float.tflite from"
        " https://github.com/mlcommons/mobile_models, folder v0_7/tflite, then run `controller"
        " catalog import ssd_mobilenet_v2_300_float.tflite --name ssd-mobilenet-v2` and"
        " `controller schedule ssd-mobilenet-v2`"
    )


@pytest.mark.parametrize("known", WELL_KNOWN, ids=lambda known: known.name)
def test_every_well_known_model_is_found_by_all_its_names(known: WellKnownModel) -> None:
    for name in (known.name, known.name.upper(), known.name.replace("-", "_"), *known.others):
        assert find_well_known(name) is known
    assert known.file.endswith((".onnx", ".tflite")), "the import accepts it"
    assert known.file in message(known.name) and known.place in message(known.name)
    assert not CATALOG.has("benchmark", known.name) and not CATALOG.has("model", known.name)


@pytest.mark.parametrize("name", ALIASES)
def test_every_other_name_leads_to_a_benchmark_of_the_catalog(name: str) -> None:
    assert CATALOG.has("benchmark", name)
    for other in ALIASES[name]:
        if CATALOG.has("benchmark", other) or CATALOG.has("suite", other):
            pytest.fail(f"{other} is a benchmark of its own")
        assert find_alias(other) == find_alias(other.upper()) == name


def test_no_name_leads_to_two_benchmarks() -> None:
    names = [other for known, others in ALIASES.items() for other in (known, *others)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "benchmark"),
    [
        ("ResNet-50", "resnet50"),
        ("resnet50_v1.5", "resnet50"),
        ("BERT-99.9", "bert-large"),
        ("3d_unet", "3d-unet"),
        ("deeplabv3+", "deeplabv3"),
        ("SSD_MobileNet", "ssd-mobilenet"),
        ("mobile_segmenter", "mosaic"),
        ("YOLOv11", "yolov11"),
    ],
)
def test_spelling_does_not_matter(name: str, benchmark: str) -> None:
    title = CATALOG.get("benchmark", benchmark).title
    assert message(name).endswith(f". Run `controller schedule {benchmark}`: {title}")


def test_typing_errors_suggest_each_kind_and_the_import() -> None:
    text = message("fashion-mnits")
    assert "Did you mean benchmark 'fashion-mnist' or model 'fashion-mnist-" in text
    assert "suite 'default'" in message("defualt")
    assert "suite 'mlperf-tiny' or model 'mlperf-tiny-" in message("mlperf-tyni")
    for name in ("fashion-mnits", "defualt", "zzzzzzzz"):
        assert "For a model of your own, run `controller catalog import FILE`" in message(name)


def test_a_name_like_no_other_lists_the_known_ones() -> None:
    assert "Known: 3d-unet, ad, bert-large" in message("zzzzzzzz")


def test_an_empty_catalog_names_the_import_alone() -> None:
    assert message("fashion", Catalog([])).endswith(
        ". For a model of your own, run `controller catalog import FILE`"
    )


def test_a_model_of_the_catalog_names_its_benchmarks() -> None:
    assert message("magika") == (
        "'magika' is a model, and jobs run a benchmark or a suite. Run"
        " `controller schedule file-types` or `controller schedule network-speed --variation"
        " magika`"
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
