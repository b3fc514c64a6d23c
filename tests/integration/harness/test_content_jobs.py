"""The catalog's models on their data, in real jobs: their accuracy is what was measured before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fleetmark_catalog.load import load_catalog
from fleetmark_catalog.resolve import Configuration, expand
from fleetmark_controller.evaluation.accuracy import load_labels, top_k
from fleetmark_controller.loadgen.accuracy_log import parse_accuracy
from tests.support.published_accuracy import tolerance

MIRROR = os.environ.get("FLEETMARK_TEST_MIRROR")
pytestmark = pytest.mark.timeout(1200)
mirrored = pytest.mark.skipif(not MIRROR, reason="FLEETMARK_TEST_MIRROR names no mirror folder")


def configuration(
    bench: Any, name: str, scenario: str, mode: str, *variations: str, **parameters: str
) -> Configuration:
    if mode == "performance":
        parameters.setdefault("min_duration_s", "0.3")
    return expand(
        bench.catalog,
        name,
        scenarios=[scenario],
        modes=[mode],
        variations=variations,
        parameters={key: [value] for key, value in parameters.items()},
    )[0]


def accuracy(bench: Any, name: str, scenario: str, *variations: str, **parameters: str) -> Any:
    """What the job counted, after the controller's count from LoadGen's log agreed."""
    chosen = configuration(bench, name, scenario, "accuracy", *variations, **parameters)
    lock = bench.lock(chosen)
    ran = bench.run(chosen, limit_s=900)
    assert ran.code == 0, ran.stderr
    found = ran.result["accuracy"]
    blob = lock.inputs.get("labels") or lock.inputs["dataset"]
    dataset = lock.job["dataset"]
    labels = load_labels(
        bench.blobs.path(blob.sha256), dataset.get("labels", "y"), dataset["layout"]
    )
    counted = top_k(parse_accuracy(ran.out / "mlperf_log_accuracy.json"), labels)
    assert (counted.correct, counted.total) == (found["correct"], found["total"])
    assert counted.complete
    return ran.result


LANGUAGE_ID = {
    ("fp32", "onnx"): 1477,
    ("int8", "onnx"): 1481,
    ("fp32", "tflite"): 1477,
    ("int8", "tflite"): 1475,
}


WITH_AMX = {("int8", "onnx"): 1471}
"""What is counted on processors with AMX, by other 8-bit kernels of ONNX Runtime."""


def has_amx() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "amx_int8" in cpuinfo.read_text()


@pytest.mark.parametrize("form", LANGUAGE_ID, ids="-".join)
def test_text(bench: Any, form: tuple[str, str]) -> None:
    found = accuracy(bench, "language-id", "Offline", *form)["accuracy"]
    assert found["total"] == 1546
    expected = WITH_AMX.get(form, LANGUAGE_ID[form]) if has_amx() else LANGUAGE_ID[form]
    # 8-bit kernels differ a little from one processor to the next.
    assert abs(found["correct"] - expected) <= (0 if form[0] == "fp32" else 8)


def test_a_graph_that_fixes_its_batch_is_run_sample_by_sample(bench: Any) -> None:
    chosen = configuration(bench, "language-id", "Offline", "performance", "tflite")
    result = bench.run(chosen).result
    assert result["runtime"]["samples_per_call"] == 1
    assert result["calibration"]["batch_size"] == 32
    onnx = configuration(bench, "language-id", "Offline", "performance", "onnx")
    assert bench.run(onnx).result["runtime"]["samples_per_call"] == 32


def test_versions_of_a_runtime_and_numpy_1_side_by_side(bench: Any, quick: Any) -> None:
    found = {}
    for words in (("onnx",), ("onnxruntime-1.28",), ("tflite-runtime",)):
        ran = bench.run(quick("Offline", "accuracy", *words))
        assert ran.code == 0, ran.stderr
        runtime = ran.result["runtime"]
        found[f"{runtime['name']} {runtime['version']}"] = ran.result["numpy_version"]
        assert ran.result["accuracy"]["correct"] == 937
    assert found == {
        "onnxruntime 1.23.2": "2.2.6",
        "onnxruntime 1.28.0": "2.2.6",
        "tflite-runtime 2.14.0": "1.26.4",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("onnxruntime-1.32", "onnxruntime"),
        ("openvino", "openvino"),
        ("opencv", "opencv-python-headless"),
    ],
)
@pytest.mark.parametrize(("form", "correct"), [("fp32", 937), ("int8", 939)])
def test_other_runtimes(
    bench: Any, quick: Any, word: str, name: str, form: str, correct: int
) -> None:
    ran = bench.run(quick("Offline", "accuracy", word, form))
    assert ran.code == 0, ran.stderr
    assert ran.result["runtime"]["name"] == name
    allowed = max(3, round(1000 * tolerance(form, name)))
    assert abs(ran.result["accuracy"]["correct"] - correct) <= allowed


@mirrored
@pytest.mark.parametrize("form", ["fp32", "int8"])
@pytest.mark.parametrize("network", ["resnet8", "kws", "vww", "anomaly"])
def test_speed_of_mlperf_tiny(bench: Any, network: str, form: str) -> None:
    scenario = {"fp32": "SingleStream", "int8": "Offline"}[form]
    chosen = configuration(
        bench, "network-speed", scenario, "performance", network, form, min_duration_s="0.2"
    )
    ran = bench.run(chosen)
    assert ran.code == 0, ran.stderr
    assert ran.details["result_validity"] == "VALID"
    assert ran.result["accuracy"] is None
    assert ran.result["sample_count"] > 0


def test_random_samples_have_no_accuracy(bench: Any) -> None:
    chosen = configuration(bench, "network-speed", "SingleStream", "performance", "resnet20")
    if not MIRROR:
        pytest.skip("FLEETMARK_TEST_MIRROR names no mirror folder")

    def change(document: dict[str, Any]) -> None:
        document["mode"] = "accuracy"

    ran = bench.run(chosen, change)
    assert ran.code == 10
    assert "the samples have no labels" in ran.stderr.splitlines()[-1]


@mirrored
@pytest.mark.parametrize(("form", "correct"), [("fp32", 19), ("int8", 19)])
def test_the_first_pictures_of_cifar(bench: Any, form: str, correct: int) -> None:
    found = accuracy(bench, "cifar-10", "SingleStream", "first-20", form)["accuracy"]
    assert (found["correct"], found["total"]) == (correct, 20)


@mirrored
@pytest.mark.slow
@pytest.mark.parametrize(("form", "expected"), [("fp32", 0.8719), ("int8", 0.8697)])
def test_all_of_cifar(bench: Any, form: str, expected: float) -> None:
    """Skipped if CIFAR-10's test_batch.bin is not in the mirror folder."""
    found = accuracy(bench, "cifar-10", "Offline", form)["accuracy"]
    assert found["total"] == 10_000
    assert found["value"] == pytest.approx(expected, abs=0.001)


FIFTY_THOUSAND = {
    ("fp32", "onnx"): 46_099,
    ("int8", "onnx"): 46_052,
    ("fp32", "tflite"): 46_099,
    ("int8", "tflite"): 46_069,
}


@mirrored
@pytest.mark.slow
@pytest.mark.parametrize("form", FIFTY_THOUSAND, ids="-".join)
def test_fifty_thousand_samples(bench: Any, form: tuple[str, str]) -> None:
    found = accuracy(bench, "fashion-mnist-50000", "Offline", *form)["accuracy"]
    assert found["total"] == 50_000
    assert abs(found["correct"] - FIFTY_THOUSAND[form]) <= (10 if form[0] == "fp32" else 100)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
def test_sound(bench: Any, scenario: str) -> None:
    found = accuracy(bench, "voice-activity", scenario)["accuracy"]
    assert found["total"] == 408
    assert abs(found["correct"] - 406) <= 1


@mirrored
@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "correct"),
    [
        (("edgetpu",), 17),
        (("mobilenet-v2",), 18),
        (("mobilenet-v2", "quantised-after-training"), 17),
    ],
)
def test_pictures(bench: Any, words: tuple[str, ...], correct: int) -> None:
    found = accuracy(bench, "imagenet-20", "SingleStream", *words)["accuracy"]
    assert found["total"] == 20
    assert abs(found["correct"] - correct) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
def test_detection(bench: Any, scenario: str) -> None:
    parameters = {"batch_size": "4"} if scenario == "Offline" else {}
    ran = bench.run(configuration(bench, "face-detection", scenario, "performance", **parameters))
    assert ran.code == 0, ran.stderr
    assert ran.details["result_validity"] == "VALID"


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
@pytest.mark.parametrize(
    ("benchmark", "correct", "total"), [("file-types", 499, 499), ("face-or-not", 199, 200)]
)
def test_types_of_files_and_faces(
    bench: Any, benchmark: str, correct: int, total: int, scenario: str
) -> None:
    found = accuracy(bench, benchmark, scenario)["accuracy"]
    assert found["total"] == total
    assert abs(found["correct"] - correct) <= 1


NETWORKS = [
    member["variations"][0]
    for member in load_catalog().get("suite", "package-models").body["members"]
]


@pytest.mark.slow
@pytest.mark.parametrize("network", ["magika", "basic-pitch", "vad", *NETWORKS])
def test_speed_of_networks_from_wheels(bench: Any, network: str) -> None:
    ran = bench.run(configuration(bench, "network-speed", "SingleStream", "performance", network))
    assert ran.code == 0, ran.stderr
    assert ran.details["result_validity"] == "VALID"


@mirrored
@pytest.mark.slow
@pytest.mark.parametrize("network", ["wakeword", "edgetpu", "mobilenet-v2", "resnet20"])
def test_speed_of_other_networks(bench: Any, network: str) -> None:
    ran = bench.run(configuration(bench, "network-speed", "SingleStream", "performance", network))
    assert ran.code == 0, ran.stderr
    assert ran.details["result_validity"] == "VALID"
