"""What the catalog ships: enough of each kind, whole, resolvable, and honest about its origin."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from fleetmark_catalog.load import Component, load_catalog
from fleetmark_catalog.resolve import Fetch, expand, resolve
from fleetmark_catalog.resolve.variations import variations_of
from fleetmark_controller.artifacts.acquire import obtain
from fleetmark_controller.mlperf.benchmarks import ROUNDS
from fleetmark_core.blob_store import BlobFolder
from fleetmark_core.capabilities import Os
from fleetmark_core.digest import sha256_file
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.confirmed_catalog import with_all_confirmed
from tests.support.sample_devices import HARNESS, interpreter, sample_device

SHIPPED = load_catalog()
CATALOG = with_all_confirmed(SHIPPED)
MODELS = CATALOG.all("model")
MIRROR = os.environ.get("FLEETMARK_TEST_MIRROR")
LEAST = {"model": 60, "dataset": 8, "package": 8, "program": 5, "benchmark": 30, "suite": 5}


@pytest.mark.parametrize("kind", LEAST)
def test_there_is_enough_of_each_kind(kind: str) -> None:
    assert len(CATALOG.all(kind)) >= LEAST[kind]


def test_models_are_of_all_sorts() -> None:
    tags = {tag for model in MODELS for tag in model.tags}
    assert {"vision", "audio", "text", "detection", "mlperf-tiny"} <= tags
    words = {word for model in MODELS for word in model.variations}
    assert {"fp32", "int8", "onnx", "tflite"} <= words


def needs_no_address(model: Component) -> bool:
    """Return whether a package, the repository or the mirror folder has a file of the model."""
    return any(
        artifact.file
        or any(place.wheel or place.provided for place in artifact.locations)
        or (MIRROR is not None and (Path(MIRROR) / artifact.sha256).is_file())
        for artifact in model.artifacts
        if artifact.is_confirmed
    )


def test_many_models_of_many_tasks_need_no_address() -> None:
    found = [model for model in SHIPPED.all("model") if needs_no_address(model)]
    assert len(found) >= 40
    assert len({model.body["task"] for model in found}) >= 15
    measured = {
        benchmark.body["task"]
        for benchmark in SHIPPED.all("benchmark")
        if "accuracy" in benchmark.body["modes"]
    }
    assert len(measured) >= 5


def test_models_of_mlperf_name_their_rounds() -> None:
    for model in MODELS:
        suites = {tag for tag in model.tags if tag.startswith("mlperf-")}
        named = {f"mlperf-{suite.partition('-')[0]}" for suite in model.body.get("rounds", {})}
        assert suites == named, model.id


OFFICIAL_NAMES = {
    "resnet50": "resnet",
    "retinanet": "retinanet",
    "bert-large": "bert-99",
    "3d-unet": "3d-unet-99",
    "yolov11": "yolo-99",
}


@pytest.mark.parametrize(("name", "official"), OFFICIAL_NAMES.items())
@pytest.mark.parametrize("category", ["edge", "datacenter"])
def test_rounds_of_inference_are_those_of_the_official_checker(
    name: str, official: str, category: str
) -> None:
    rounds = SHIPPED.get("model", name).body["rounds"].get(f"inference-{category}", [])
    for number, benchmarks in ROUNDS.items():
        listed = official in benchmarks and bool(getattr(benchmarks[official], category))
        assert (number in rounds) is listed, number
    # The table of the checker's terms has no v6.0; its list of models is that of v6.1.
    assert ("v6.0" in rounds) is ("v6.1" in rounds)


TINY = ["v0.5", "v0.7", "v1.0", "v1.1", "v1.2", "v1.3"]
MOBILE = ["v0.7", "v1.0", "v1.1", "v2.0", "v2.1", "v3.0", "v3.1", "v4.0", "v4.1", "v5.0"]


@pytest.mark.parametrize(
    ("name", "rounds"),
    [
        *((f"mlperf-tiny-{task}", TINY) for task in ("vww", "kws", "ad", "resnet8")),
        ("mlperf-tiny-wakeword", TINY[-1:]),
        ("mobilenet-edgetpu", MOBILE[: MOBILE.index("v4.1")]),
        ("mobilenet-v4", MOBILE[MOBILE.index("v4.0") :]),
        ("mobiledet", MOBILE[MOBILE.index("v1.0") :]),
        ("deeplabv3", MOBILE[: MOBILE.index("v2.1")]),
        ("mosaic", MOBILE[MOBILE.index("v2.0") :]),
        ("mobilebert", MOBILE),
        ("edsr", MOBILE[MOBILE.index("v3.0") :]),
    ],
)
def test_rounds_of_tiny_and_mobile_are_those_of_published_results(
    name: str, rounds: list[str]
) -> None:
    """Sources: MLPerf_Compatibility_Table.adoc of mlcommons/policies, and published results."""
    suite = "tiny" if name.startswith("mlperf-tiny") else "mobile"
    assert SHIPPED.get("model", name).body["rounds"] == {suite: rounds}


@pytest.mark.parametrize(
    "name", [model.name for model in SHIPPED.all("model") if any(a.md5 for a in model.artifacts)]
)
def test_a_file_with_an_md5_runs_only_after_a_confirmation(name: str) -> None:
    unsigned = {artifact.name for artifact in SHIPPED.get("model", name).artifacts if artifact.md5}
    words = ["int8", "fp32"] if len(unsigned) > 1 else ["fp32"]
    for word in words:
        configuration = expand(SHIPPED, name, variations=[word])[0]
        resolution = resolve(SHIPPED, configuration, sample_device(), HARNESS)
        assert resolution.lock is None
        assert f"`controller catalog confirm model/{name}`" in "; ".join(resolution.reasons)


def variations(benchmark: Component) -> list[tuple[str, ...]]:
    """The defaults, and each word of the benchmark, its program and its default model alone."""
    parts = [benchmark]
    for requirement in benchmark.requires:
        choice = requirement.choices[0]
        parts.append(CATALOG.get(choice.kind, choice.name))
    words = dict.fromkeys(word for part in parts for word in part.variations)
    return [(), *((word,) for word in words)]


REQUESTS = [
    (benchmark.name, words)
    for benchmark in CATALOG.all("benchmark")
    for words in variations(benchmark)
]
# A word of the program that the benchmark's model has no file for.
OTHER_FORMAT = re.compile("^model/[a-z0-9-]+ is in format (onnx|tflite), and package/")


@pytest.mark.parametrize(
    ("name", "words"), REQUESTS, ids=[f"{name}-{'-'.join(words)}" for name, words in REQUESTS]
)
def test_every_benchmark_resolves_with_every_word(name: str, words: tuple[str, ...]) -> None:
    configuration = expand(CATALOG, name, variations=words)[0]
    try:
        resolution = resolve(CATALOG, configuration, sample_device(), HARNESS)
    except FleetmarkError as error:
        # A network that only has a TFLite file does not run on an ONNX runtime, and says so.
        assert OTHER_FORMAT.match(str(error))
        return
    lock = resolution.lock
    assert lock is not None, resolution.reasons
    assert set(words) <= set(configuration.variations)
    assert variations_of(CATALOG, lock) == configuration.variations
    assert lock.environment.python_version == "3.11"
    assert {"model", "program"} <= {part.kind for part in lock.components}


@pytest.mark.parametrize("suite", CATALOG.all("suite"), ids=lambda suite: suite.name)
def test_every_suite_resolves(suite: Component) -> None:
    found = expand(CATALOG, suite.name)
    assert len({configuration.label() for configuration in found}) == len(found)
    for configuration in found:
        resolution = resolve(CATALOG, configuration, sample_device(), HARNESS)
        assert resolution.lock is not None, (configuration.label(), resolution.reasons)


def test_every_model_and_data_set_belongs_to_a_benchmark() -> None:
    used: set[str] = set()
    for name, words in REQUESTS:
        configuration = expand(CATALOG, name, variations=words)[0]
        try:
            lock = resolve(CATALOG, configuration, sample_device(), HARNESS).lock
        except FleetmarkError:
            continue
        assert lock is not None
        used |= {f"{part.kind}/{part.name}" for part in lock.components}
    for kind in ("model", "dataset", "program", "package"):
        # A Python is brought only where the device's own does not fit: test_provided_python.
        wanted = {part.id for part in CATALOG.all(kind) if "interpreters" not in part.body}
        assert wanted <= used


@pytest.mark.parametrize(
    ("words", "runtime", "numpy"),
    [
        ((), "onnxruntime 1.23.2", "2.2.6"),
        (("onnxruntime-1.28",), "onnxruntime 1.28.0", "2.2.6"),
        (("onnxruntime-1.32",), "onnxruntime 1.32.0", "2.2.6"),
        (("tflite",), "ai-edge-litert 2.1.6", "2.2.6"),
        (("tflite-runtime",), "tflite-runtime 2.14.0", "1.26.4"),
        (("openvino",), "openvino 2025.4.1", "2.2.6"),
        (("opencv",), "opencv-python-headless 4.12.0.88", "2.2.6"),
    ],
)
def test_a_word_chooses_the_runtime(words: tuple[str, ...], runtime: str, numpy: str) -> None:
    configuration = expand(CATALOG, "fashion-mnist", variations=words)[0]
    lock = resolve(CATALOG, configuration, sample_device(), HARNESS).lock
    assert lock is not None
    packages = {part.name: part.version for part in lock.components if part.kind == "package"}
    name, version = runtime.split()
    assert packages[name] == version
    assert packages["numpy"] == numpy
    assert lock.job["runtime"]["version"] == version
    suffix = ".tflite" if "tflite" in runtime or "litert" in runtime else ".onnx"
    assert lock.inputs["model"].name.endswith(suffix)
    if name == "onnxruntime":
        assert lock.program.environment["ORT_DISABLE_TELEMETRY"] == "1"


def test_a_runtime_that_the_devices_python_is_too_old_for_is_named() -> None:
    configuration = expand(CATALOG, "fashion-mnist", variations=["onnxruntime-1.28"])[0]
    # Its C library is too old for the Python that the catalog could bring.
    system = Os("linux", "debian", "11", "5.10", "glibc", "2.31")
    facts = dataclasses.replace(sample_device(interpreter("3.10.4")), os=system)
    resolution = resolve(CATALOG, configuration, facts, HARNESS)
    assert resolution.lock is None
    assert any("onnxruntime 1.28.0 has no wheel for cp310" in text for text in resolution.reasons)


def test_an_onnx_runtime_and_a_tflite_model_exclude_each_other() -> None:
    with pytest.raises(FleetmarkError) as caught:
        configuration = expand(CATALOG, "fashion-mnist", variations=["openvino", "tflite"])[0]
        resolve(CATALOG, configuration, sample_device(), HARNESS)
    assert "tflite" in str(caught.value)


# By a commit; the ONNX Model Zoo is archived, and its digests are those of its Git LFS pointers.
PINNED = re.compile(
    r"/[0-9a-f]{40}/|/onnxmodelzoo/legacy_models/|^https://mobile\.mlcommons-storage\.org/"
)


def test_fetched_models_are_pinned() -> None:
    for model in MODELS:
        for artifact in model.artifacts:
            for place in artifact.locations:
                if place.url and not artifact.md5:
                    assert PINNED.search(place.url), place.url
                    assert place.size_bytes == artifact.size_bytes
                if place.wheel:
                    assert "==" not in place.wheel
                    assert re.fullmatch("[0-9a-f]{64}", place.wheel_sha256)


def test_shipped_files_are_small_and_have_a_license() -> None:
    shipped = 0
    for component in (*MODELS, *CATALOG.all("dataset")):
        own = [artifact for artifact in component.artifacts if artifact.file]
        shipped += sum(artifact.size_bytes for artifact in own)
        if own:
            names = {path.name for path in component.folder.iterdir()}
            assert names & {"NOTICE", "README.md"}, component.id
    assert shipped < 2_000_000
    notice = (CATALOG.get("dataset", "language-id-test").folder / "NOTICE").read_text()
    assert "Django Software Foundation" in notice
    assert "Redistributions in binary form must reproduce" in notice


@pytest.mark.skipif(not MIRROR, reason="FLEETMARK_TEST_MIRROR names no mirror folder")
def test_the_mirror_holds_what_the_catalog_names() -> None:
    there = 0
    for model in MODELS:
        for artifact in model.artifacts:
            file = Path(str(MIRROR)) / artifact.sha256
            if file.is_file():
                there += 1
                assert file.stat().st_size == artifact.size_bytes
                assert sha256_file(file) == artifact.sha256
    assert there >= 12


PROVIDED = [
    ("fashion-mnist-50000", "model", "No address serves this file"),
    ("cifar-10", "dataset", "CIFAR-10 comes without"),
]


@pytest.mark.parametrize(("name", "role", "output"), PROVIDED)
def test_files_that_only_an_operator_can_get_are_reported(
    tmp_path: Path, name: str, role: str, output: str
) -> None:
    resolution = resolve(CATALOG, expand(CATALOG, name)[0], sample_device(), HARNESS)
    assert resolution.lock is not None
    blob = resolution.lock.inputs[role]
    source = resolution.sources[blob.sha256]
    assert isinstance(source, Fetch)
    with pytest.raises(FleetmarkError) as caught:
        obtain({blob.sha256: source}, BlobFolder(tmp_path / "blobs"), None, print)
    assert caught.value.kind is ErrorKind.ARTIFACT_UNAVAILABLE
    assert output in str(caught.value)
    assert blob.sha256 in str(caught.value)


def test_the_list_of_content_names_everything() -> None:
    text = (CATALOG.get("suite", "default").folder.parents[3] / "CONTENT.md").read_text()
    for kind in ("benchmark", "model", "dataset", "suite"):
        for component in CATALOG.all(kind):
            name = component.name.removeprefix("mlperf-tiny") or component.name
            assert f"`{name}`" in text or f"`{component.name}`" in text, component.id
