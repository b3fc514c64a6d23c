from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_catalog.load import Catalog, load_catalog
from fleetmark_catalog.resolve import (
    Configuration,
    Fetch,
    LocalFile,
    Resolution,
    WheelSource,
    expand,
    resolve,
)
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import parse_lockfile
from tests.support.sample_devices import HARNESS, interpreter, sample_device

WHOLE = load_catalog()
# Without the Python that it could bring: here the device's own decide.
CATALOG = Catalog(part for part in WHOLE.all() if "interpreters" not in part.body)
AGAIN = load_catalog()


def one(catalog: Catalog = CATALOG, name: str = "fashion-mnist", **more: object) -> Configuration:
    return expand(catalog, name, **more)[0]  # type: ignore[arg-type]


def packages(resolution: Resolution) -> dict[str, str]:
    assert resolution.lock is not None, resolution.reasons
    parts = resolution.lock.components
    return {part.name: part.version for part in parts if part.kind == "package"}


# expand


def test_the_default_suite_is_sixteen_configurations() -> None:
    labels = [configuration.label() for configuration in expand(CATALOG, "default")]
    assert len(labels) == len(set(labels)) == 16
    assert labels[0] == "fashion-mnist fp32,onnx SingleStream performance"
    assert labels[-1] == "fashion-mnist int8,tflite Offline accuracy"


def test_a_benchmark_alone_takes_the_defaults() -> None:
    found = expand(CATALOG, "fashion-mnist")
    assert {configuration.variations for configuration in found} == {("fp32", "onnx")}
    assert len(found) == 4


def test_words_narrow_the_request() -> None:
    found = expand(CATALOG, "default", scenarios=["Offline"], modes=["accuracy"])
    assert {(c.scenario, c.mode) for c in found} == {("Offline", "accuracy")}
    assert len(found) == 4


def test_a_variation_given_wins_within_its_group_and_nothing_comes_twice() -> None:
    found = expand(CATALOG, "default", variations=["int8"])
    assert {c.variations for c in found} == {("int8", "onnx"), ("int8", "tflite")}
    assert len(found) == 8


def test_a_grid_is_the_product_and_skips_what_a_scenario_does_not_have() -> None:
    found = expand(
        CATALOG,
        "fashion-mnist",
        modes=["performance"],
        parameters={"threads": ["1", "2"], "batch_size": ["8", "16"]},
    )
    by_scenario: dict[str, list[dict[str, object]]] = {}
    for configuration in found:
        by_scenario.setdefault(configuration.scenario, []).append(configuration.parameters)
    assert by_scenario["SingleStream"] == [{"threads": 1}, {"threads": 2}]
    assert len(by_scenario["Offline"]) == 4
    assert found[0].label() == "fashion-mnist fp32,onnx SingleStream performance threads=1"


ONE = {"scenarios": ["SingleStream"], "modes": ["performance"]}


def chosen(name: str, *words: str) -> list[tuple[str, ...]]:
    found = expand(CATALOG, name, variations=words, **ONE)  # type: ignore[arg-type]
    assert len({c.label() for c in found}) == len(found)
    return [configuration.variations for configuration in found]


def test_variations_of_one_group_are_an_axis() -> None:
    assert chosen("fashion-mnist", "tflite", "onnx") == [("fp32", "tflite"), ("fp32", "onnx")]
    assert chosen("fashion-mnist", "onnx", "onnx") == [("fp32", "onnx")]
    assert chosen("fashion-mnist", "onnx", "int8") == [("int8", "onnx")], "two groups hold together"
    assert chosen("fashion-mnist", "onnx", "int8", "tflite", "fp32") == [
        ("int8", "onnx"),
        ("fp32", "onnx"),
        ("int8", "tflite"),
        ("fp32", "tflite"),
    ]
    runtimes = ("onnxruntime-1.28", "openvino", "tflite-runtime")
    assert [set(words) & set(runtimes) for words in chosen("fashion-mnist", *runtimes)] == [
        {word} for word in runtimes
    ], "a runtime brings the format that it reads"


def test_an_axis_multiplies_with_the_grid_of_parameters() -> None:
    found = expand(
        CATALOG,
        "fashion-mnist",
        variations=["onnx", "tflite"],
        parameters={"threads": ["1", "2"]},
        **ONE,  # type: ignore[arg-type]
    )
    assert [c.label().split(" ", 1)[1] for c in found] == [
        f"fp32,{form} SingleStream performance threads={threads}"
        for form in ("onnx", "tflite")
        for threads in (1, 2)
    ]


def test_an_axis_over_a_suite_runs_nothing_twice() -> None:
    assert sorted(chosen("default", "onnx", "tflite")) == sorted(chosen("default"))


@given(st.lists(st.sampled_from(["onnx", "tflite", "int8", "fp32", "full", "v5.1", "v6.1"])))
def test_a_grid_of_variations_is_the_product_of_its_groups(words: list[str]) -> None:
    groups = [{"onnx", "tflite"}, {"int8", "fp32"}, {"full"}, {"v5.1", "v6.1"}]
    found = chosen("fashion-mnist", *words)
    assert len(found) == math.prod(max(1, len(group & set(words))) for group in groups)
    for group in groups:
        if group & set(words):
            assert {tuple(group & set(c)) for c in found} == {(w,) for w in group & set(words)}


UNKNOWN = {
    "scenario": ({"scenarios": ["Ofline"]}, "Did you mean 'Offline'?"),
    "mode": ({"modes": ["acuracy"]}, "Did you mean 'accuracy'?"),
    "variation": ({"variations": ["int9"]}, "Did you mean 'int8'?"),
    "profile": ({"profile": "quik"}, "Did you mean 'quick'?"),
    "parameter": ({"parameters": {"thread": ["1"]}}, "Did you mean 'threads'?"),
    "not a number": ({"parameters": {"threads": ["two"]}}, "Allowed: int from 1 to 256"),
    "out of range": ({"parameters": {"threads": ["1", "257"]}}, "cannot be '257'"),
    "not finite": ({"parameters": {"min_duration_s": ["nan"]}}, "from 0.05 to 3600"),
    "profile of a parameter": (
        {"parameters": {"min_duration_s": ["1"]}, "profile": "valid"},
        "does not apply to valid",
    ),
    "scenario of a parameter": (
        {"parameters": {"batch_size": ["1"]}, "scenarios": ["SingleStream"]},
        "It applies to Offline",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_unknown_words_are_refused_with_what_is_allowed(case: str) -> None:
    request, expected = UNKNOWN[case]
    with pytest.raises(FleetmarkError) as caught:
        expand(CATALOG, "fashion-mnist", **request)  # type: ignore[arg-type]
    assert caught.value.kind is ErrorKind.UNKNOWN_WORD
    assert expected in str(caught.value)


def test_an_unknown_benchmark_is_not_found() -> None:
    with pytest.raises(FleetmarkError) as caught:
        expand(CATALOG, "fashion-minst")
    assert caught.value.kind is ErrorKind.NOT_FOUND
    assert "fashion-mnist" in caught.value.next_step


# resolve


@pytest.mark.parametrize("version", ["3.10.2", "3.11.7", "3.12.0", "3.13.1"])
@pytest.mark.parametrize("member", range(4))
def test_the_suite_resolves_on_every_python(version: str, member: int) -> None:
    configuration = expand(CATALOG, "default")[member * 4]
    resolution = resolve(CATALOG, configuration, sample_device(interpreter(version)), HARNESS)
    lock = resolution.lock
    assert lock is not None, resolution.reasons
    assert lock.environment.python_version == ".".join(version.split(".")[:2])
    assert HARNESS in lock.environment.wheels
    assert packages(resolution)["numpy"] == "2.2.6"
    assert parse_lockfile(lock.canonical()) == lock
    blobs = {blob.sha256 for blob in lock.blobs()} - {HARNESS.sha256}
    assert blobs == set(resolution.sources)


def test_variations_choose_model_and_runtime_together() -> None:
    int8 = resolve(CATALOG, one(variations=["int8", "tflite"]), sample_device(), HARNESS)
    assert int8.lock is not None
    assert int8.lock.inputs["model"].name == "dscnn_int8.tflite"
    assert int8.lock.job["runtime"]["name"] == "tflite"
    assert int8.lock.job["model"]["precision"] == "int8"
    assert "ai-edge-litert" in packages(int8)
    assert "onnxruntime" not in packages(int8)
    onnx = resolve(CATALOG, one(), sample_device(), HARNESS)
    assert onnx.lock is not None
    assert onnx.lock.inputs["model"].name == "dscnn_fp32.onnx"
    assert onnx.lock.program.environment == {"ORT_DISABLE_TELEMETRY": "1"}


def test_full_takes_the_whole_data_set_from_elsewhere() -> None:
    resolution = resolve(CATALOG, one(variations=["full"]), sample_device(), HARNESS)
    assert resolution.lock is not None
    assert set(resolution.lock.inputs) == {"model", "dataset", "labels"}
    images = resolution.sources[resolution.lock.inputs["dataset"].sha256]
    assert isinstance(images, Fetch)
    assert [bool(place.deb) for place in images.locations] == [False, True]
    kinds = {type(source) for source in resolution.sources.values()}
    assert kinds == {Fetch, LocalFile, WheelSource}


def test_the_lock_does_not_depend_on_what_the_order_says() -> None:
    found = expand(CATALOG, "fashion-mnist", parameters={"threads": ["1", "2"]})
    digests = {
        lock.canonical()
        for configuration in found
        if (lock := resolve(CATALOG, configuration, sample_device(), HARNESS).lock)
    }
    assert len(found) == 8
    assert len(digests) == 1


REASONS = {
    "python too new": (
        sample_device(interpreter("3.14.0")),
        "onnxruntime 1.23.2 has no wheel for cp314 on manylinux_2_36_x86_64",
    ),
    "python too old": (sample_device(interpreter("3.9.2")), "has no wheel for cp39"),
    "glibc too old": (sample_device(interpreter(glibc=20)), "cp311 on manylinux_2_20_x86_64"),
    "no loadgen for armv7": (
        sample_device(arch="armv7l"),
        "mlcommons-loadgen 6.0.17 has no wheel for cp311 on manylinux_2_36_armv7l",
    ),
}


@pytest.mark.parametrize("case", REASONS)
def test_reasons_name_what_is_missing(case: str) -> None:
    capabilities, expected = REASONS[case]
    resolution = resolve(CATALOG, one(), capabilities, HARNESS)
    assert resolution.lock is None
    assert not resolution.sources
    assert expected in "; ".join(resolution.reasons)


def test_all_obstacles_are_named_at_once() -> None:
    resolution = resolve(
        CATALOG, one(variations=["tflite"]), sample_device(interpreter("3.14.0")), HARNESS
    )
    text = "; ".join(resolution.reasons)
    for name in ("mlcommons-loadgen 6.0.17", "ai-edge-litert 2.1.6", "tflite-runtime 2.14.0"):
        assert f"{name} has no wheel" in text


def test_a_device_without_python_is_reported_so() -> None:
    facts = sample_device()
    bare = Capabilities(facts.os, facts.arch, facts.board, facts.cpu, facts.memory, facts.storage)
    assert resolve(CATALOG, one(), bare, HARNESS).reasons == (
        "the device has no Python interpreter that jobs can use",
    )


def test_another_interpreter_is_taken_where_the_first_does_not_fit() -> None:
    capabilities = sample_device(
        interpreter("3.14.0"), interpreter("3.12.1"), interpreter("3.11.2")
    )
    lock = resolve(CATALOG, one(), capabilities, HARNESS).lock
    assert lock is not None
    assert lock.environment.python_version == "3.12"


BENCHMARK = """
kind = "benchmark"
name = "mine"
version = "1"
title = "Mine"
license = "MIT"
{head}
requires = [
  {{ role = "program", component = "program/mine" }},
  {{ role = "model", component = "model/fashion-mnist-dscnn" }},
  {{ role = "dataset", component = "dataset/fashion-mnist-1000" }},
]
[benchmark]
task = "image-classification"
modes = ["performance"]
scenarios = {{ Offline = {{ metric = "throughput_samples_per_s" }} }}
quality = {{ metric = "top-1", reference = 0.9, target = 0.9 }}
[benchmark.profiles.quick]
submittable = false
timeout_s = 60
warmup_ms = 1
calibration_ms = 1
Offline = {{ min_duration_ms = 100 }}
"""
PROGRAM = """
kind = "program"
name = "mine"
version = "2"
title = "Mine"
license = "MIT"
requires = [{requires}]
[program]
contract = 1
command = ["{{python}}", "{{program}}/main.py"]
files = ["main.py"]
inputs = ["model", "dataset"]
outputs = [{{ name = "result.json", role = "result" }}]
"""


def with_program(folder: Path, requires: str, head: str = "") -> Catalog:
    for kind, text in (
        ("benchmark", BENCHMARK.format(head=head)),
        ("program", PROGRAM.format(requires=requires)),
    ):
        place = folder / kind / "mine"
        place.mkdir(parents=True)
        (place / "component.toml").write_text(text)
    (folder / "program" / "mine" / "main.py").write_text("")
    return load_catalog([folder])


def test_numpy_is_chosen_once_for_all(tmp_path: Path) -> None:
    """LoadGen takes any NumPy and comes first; tflite-runtime then asks for an older one."""
    catalog = with_program(
        tmp_path,
        '{component = "package/mlcommons-loadgen"}, {component = "package/tflite-runtime"}',
    )
    resolution = resolve(catalog, one(catalog, "mine"), sample_device(), HARNESS)
    assert packages(resolution) == {
        "mlcommons-loadgen": "6.0.17",
        "numpy": "1.26.4",
        "tflite-runtime": "2.14.0",
    }


def test_a_conflict_names_both_requirers(tmp_path: Path) -> None:
    catalog = with_program(
        tmp_path,
        '{role = "array", component = "package/numpy", version = ">=2"},'
        '{component = "package/tflite-runtime"}',
    )
    resolution = resolve(catalog, one(catalog, "mine"), sample_device(), HARNESS)
    assert resolution.lock is None
    assert (
        "mine 2 requires numpy>=2, but tflite-runtime 2.14.0 requires numpy>=1.23.2,<2"
    ) in resolution.reasons


def test_a_version_that_is_not_there_is_named(tmp_path: Path) -> None:
    catalog = with_program(tmp_path, '{component = "package/numpy", version = ">=3"}')
    resolution = resolve(catalog, one(catalog, "mine"), sample_device(), HARNESS)
    assert resolution.reasons == ("mine 2 requires numpy>=3; the catalog has 2.2.6, 1.26.4",)


def test_a_condition_on_the_device_is_named_with_the_actual_value(tmp_path: Path) -> None:
    catalog = with_program(tmp_path, "", head='device = "memory>=8GiB"')
    resolution = resolve(catalog, one(catalog, "mine"), sample_device(), HARNESS)
    assert resolution.reasons == (
        "benchmark/mine needs memory>=8GiB: memory>=8GiB: memory is 4 GiB",
    )


def test_a_requirement_may_depend_on_the_device(tmp_path: Path) -> None:
    catalog = with_program(tmp_path, '{component = "package/numpy", when = "arm64"}')
    configuration = one(catalog, "mine")
    assert packages(resolve(catalog, configuration, sample_device(), HARNESS)) == {}
    arm = resolve(catalog, configuration, sample_device(arch="aarch64"), HARNESS)
    assert packages(arm) == {"numpy": "2.2.6"}


@given(
    version=st.sampled_from(["3.9.1", "3.10.4", "3.11.0", "3.12.9", "3.13.0", "3.14.1"]),
    arch=st.sampled_from(["x86_64", "aarch64", "riscv64"]),
    glibc=st.integers(17, 40),
    words=st.lists(st.sampled_from(["fp32", "int8", "onnx", "tflite", "full"]), max_size=3),
)
def test_resolving_is_deterministic_and_whole(
    version: str, arch: str, glibc: int, words: list[str]
) -> None:
    try:
        configuration = one(variations=words)
    except FleetmarkError as error:
        assert error.kind is ErrorKind.UNKNOWN_WORD  # two words of one group
        return
    capabilities = sample_device(interpreter(version, arch, glibc), arch=arch)
    first = resolve(WHOLE, configuration, capabilities, HARNESS)
    second = resolve(AGAIN, configuration, capabilities, HARNESS)
    assert first == second
    assert (first.lock is None) == bool(first.reasons)
    if first.lock is not None and second.lock is not None:
        assert first.lock.canonical() == second.lock.canonical()
        assert set(first.sources) == {b.sha256 for b in first.lock.blobs()} - {HARNESS.sha256}


@given(
    scenarios=st.lists(st.sampled_from(["SingleStream", "Offline"])),
    modes=st.lists(st.sampled_from(["performance", "accuracy"])),
    threads=st.lists(st.integers(1, 256), min_size=1, max_size=4),
)
def test_a_grid_has_no_double_and_the_right_size(
    scenarios: list[str], modes: list[str], threads: list[int]
) -> None:
    found = expand(
        CATALOG,
        "default",
        scenarios=scenarios,
        modes=modes,
        parameters={"threads": [str(count) for count in threads]},
    )
    labels = [configuration.label() for configuration in found]
    assert len(labels) == len(set(labels))
    assert len(labels) == 4 * (len(set(scenarios)) or 2) * (len(set(modes)) or 2) * len(
        set(threads)
    )


def test_scenarios_on_request_and_compliance_tests_run_only_where_they_are_named() -> None:
    usual = expand(CATALOG, "fashion-mnist")
    assert {(c.scenario, c.mode) for c in usual} == {
        (scenario, mode)
        for scenario in ("SingleStream", "Offline")
        for mode in ("performance", "accuracy")
    }
    named = expand(CATALOG, "fashion-mnist", scenarios=["Server"], modes=["compliance"])
    assert [(c.scenario, c.mode) for c in named] == [("Server", "TEST01"), ("Server", "TEST04")]
    one = expand(CATALOG, "fashion-mnist", scenarios=["MultiStream"], modes=["TEST04", "accuracy"])
    assert [c.mode for c in one] == ["TEST04", "accuracy"]
    with pytest.raises(FleetmarkError, match="no mode 'compliance'"):
        expand(CATALOG, "face-detection", modes=["compliance"])


def test_every_benchmark_under_loadgen_can_be_searched_and_none_is_unasked() -> None:
    for benchmark in CATALOG.all("benchmark"):
        assert all(c.mode != "find-performance" for c in expand(CATALOG, benchmark.name))
        found = expand(CATALOG, benchmark.name, modes=["find-performance"])
        assert {c.mode for c in found} == {"find-performance"}


def test_a_round_picks_its_loadgen() -> None:
    for word, version in (("v5.1", "5.1.0"), ("v6.1", "6.0.17")):
        configuration = expand(CATALOG, "fashion-mnist", variations=[word])[0]
        lock = resolve(CATALOG, configuration, sample_device(), HARNESS).lock
        assert lock is not None
        assert lock.job["loadgen"] == {"round": word, "package_version": version}
