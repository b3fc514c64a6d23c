"""Real jobs: real LoadGen, real runtimes, the locked wheels."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.published_accuracy import ACCURACY, tolerance

pytestmark = pytest.mark.timeout(600)

FORMS = [("fp32", "onnx"), ("int8", "onnx"), ("fp32", "tflite"), ("int8", "tflite")]


@pytest.mark.parametrize("form", FORMS, ids="-".join)
@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
def test_performance(bench: Any, quick: Any, scenario: str, form: tuple[str, str]) -> None:
    ran = bench.run(quick(scenario, "performance", *form))
    assert ran.code == 0, ran.stderr
    details, result = ran.details, ran.result
    assert details["result_validity"] == "VALID"
    assert details["effective_test_mode"] == "PerformanceOnly"
    assert details["effective_scenario"] == scenario
    # From the embedded mlperf.conf: without it a run could not be compared.
    assert details["effective_qsl_rng_seed"] != 0
    assert details["effective_accuracy_log_probability"] == 0
    assert (ran.out / "mlperf_log_summary.txt").stat().st_size > 0
    assert (ran.out / "mlperf_log_accuracy.json").is_file()
    samples = np.fromfile(ran.out / "samples.i64", "<i8")
    assert len(samples) == result["sample_count"] > 0
    assert (samples > 0).all()
    assert result["accuracy"] is None
    if scenario == "SingleStream":
        assert result["query_count"] == len(samples)
        # LoadGen's figure includes its own overhead of some microseconds.
        official = details["result_90.00_percentile_latency_ns"]
        assert np.percentile(samples, 90) <= official
    else:
        assert result["query_count"] == 1
        assert len(samples) == details["generated_samples_per_query"]
        assert details["result_samples_per_second"] == pytest.approx(
            len(samples) / samples.max() * 1e9, rel=0.05
        )


@pytest.mark.parametrize("form", FORMS, ids="-".join)
@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
def test_accuracy(bench: Any, quick: Any, scenario: str, form: tuple[str, str]) -> None:
    ran = bench.run(quick(scenario, "accuracy", *form))
    assert ran.code == 0, ran.stderr
    result = ran.result
    found = result["accuracy"]
    assert found["value"] == pytest.approx(ACCURACY[form[0]], abs=tolerance(*form) + 1e-9)
    assert found == {
        "metric": "top-1",
        "value": found["value"],
        "correct": round(found["value"] * 1000),
        "total": 1000,
    }
    # The log alone gives the same figure: an int32 class a sample.
    entries = json.loads((ran.out / "mlperf_log_accuracy.json").read_text())
    with np.load(bench.blobs.path(bench.lock(quick()).inputs["dataset"].sha256)) as archive:
        labels = archive["y"]
    classes = {e["qsl_idx"]: np.frombuffer(bytes.fromhex(e["data"]), "<i4") for e in entries}
    assert len(entries) == len(classes) == 1000
    assert sum(int(classes[i][0]) == labels[i] for i in classes) == result["accuracy"]["correct"]


def test_accuracy_on_the_full_data_set(bench: Any, quick: Any) -> None:
    """Fetched on demand; skipped where neither the upstream project nor apt can be reached."""
    ran = bench.run(quick("Offline", "accuracy", "full"))
    assert ran.code == 0, ran.stderr
    assert ran.result["accuracy"]["total"] == 10_000
    assert ran.result["accuracy"]["value"] == pytest.approx(0.9234, abs=0.0002)


@pytest.mark.parametrize("form", ["onnx", "tflite"])
def test_offline_counts_exactly_the_samples_that_were_computed(
    bench: Any, quick: Any, form: str
) -> None:
    """A TFLite graph computes whole batches: the query has whole batches, too."""
    ran = bench.run(quick("Offline", "performance", form, batch_size="7"))
    assert ran.code == 0, ran.stderr
    counted = ran.result["sample_count"]
    assert ran.result["computed_sample_count"] == counted
    assert counted % 7 == 0
    assert ran.result["nonfinite_outputs"] is False


def test_the_result_says_what_was_really_used(bench: Any, quick: Any) -> None:
    onnx = bench.run(quick("Offline", "performance", threads="2", batch_size="7"))
    assert onnx.code == 0, onnx.stderr
    result = onnx.result
    assert result["format"] == 1
    assert result["runtime"] == {
        "name": "onnxruntime",
        "version": "1.23.2",
        "provider": "CPUExecutionProvider",
        "threads": 2,
        "samples_per_call": 7,
    }
    given = {"threads": 2, "batch_size": 7, "min_duration_s": 0.3}
    assert {name: result["parameters"][name] for name in given} == given
    assert result["parameters"]["graph_optimization"] == "all"
    assert result["calibration"]["batch_size"] == 7
    assert result["loadgen_version"] == "6.0.17"
    assert result["numpy_version"] == "2.2.6"
    assert result["warmup_count"] > 0
    assert result["duration_ns"] > 300_000_000
    assert result["peak_memory_bytes"] > 20_000_000
    assert "target_qps" in result["loadgen_user_conf"]
    tflite = bench.run(quick("SingleStream", "accuracy", "tflite")).result["runtime"]
    assert tflite["name"] == "ai-edge-litert"
    assert tflite["provider"] == "XNNPACK"


def test_progress_names_every_phase(bench: Any, quick: Any) -> None:
    ran = bench.run(quick("SingleStream", "performance", min_duration_s="1.5"))
    phases = list(dict.fromkeys(line["phase"] for line in ran.progress))
    assert phases == ["load", "warmup", "calibrate", "run", "write"]
    running = [line for line in ran.progress if line["phase"] == "run"]
    assert running[0] == {"phase": "run", "done": 0, "total": 1500}
    assert [line["done"] for line in running] == sorted(line["done"] for line in running)
    assert len(ran.progress) < 20


def test_nothing_but_results_is_left(bench: Any, quick: Any) -> None:
    ran = bench.run(quick("Offline", "accuracy"))
    assert {path.name for path in ran.out.iterdir()} <= {
        *("mlperf_log_summary.txt", "mlperf_log_detail.txt", "mlperf_log_accuracy.json"),
        *("mlperf_log_trace.json", "result.json"),
    }


def _set(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for key in path[:-1]:
            document = document[key]
        if value is KeyError:
            del document[path[-1]]
        else:
            document[path[-1]] = value

    return change


BAD_JOBS = {
    "format": (_set("format", value=9), 10, "job format 9 is not supported: this harness reads 1"),
    "no epoch": (_set("epoch", value=KeyError), 10, "has no 'epoch'"),
    "scenario": (_set("scenario", value="Sever"), 10, "scenario 'Sever' is not one of"),
    "mode": (_set("mode", value="fast"), 10, "mode 'fast' is not one of"),
    "profile": (_set("profile", value="slow"), 10, "profile 'slow' is not one of quick, valid"),
    "no model": (_set("job", "model", value=KeyError), 10, "has no 'model'"),
    "no input": (_set("inputs", "model", value=KeyError), 10, "has no input 'model'"),
    "threads": (_set("parameters", "threads", value="two"), 10, "parameter threads is 'two'"),
    "duration": (_set("parameters", "min_duration_s", value=-1), 10, "min_duration_s is -1"),
    "adapter": (_set("job", "runtime", "name", value="tensorrt"), 10, "no adapter for runtime"),
    "module": (_set("job", "runtime", "module", value="no_such"), 12, "cannot be loaded"),
    "tables": (_set("job", value=[]), 10, "not valid"),
}


@pytest.mark.parametrize("case", BAD_JOBS)
def test_a_bad_job_file_ends_with_its_code(bench: Any, quick: Any, case: str) -> None:
    change, code, expected = BAD_JOBS[case]
    ran = bench.run(quick(), change)
    assert ran.code == code, ran.stderr
    assert expected in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr


def test_a_job_without_its_variables_is_a_bad_job(bench: Any, quick: Any) -> None:
    for name, value in (("FLEETMARK_JOB", "/no/such"), ("FLEETMARK_OUT", "")):
        ran = bench.run(quick(), environment={name: value})
        assert ran.code == 10
        assert ran.stderr.splitlines()[-1].startswith("fleetmark: job failed: ")


@pytest.mark.parametrize(
    ("form", "name", "data"),
    [
        ("onnx", "model", b"not a model"),
        ("tflite", "model", b"not a model"),
        ("onnx", "model", b""),
        ("tflite", "model", b""),
        ("onnx", "dataset", b"not a data set"),
        ("onnx", "dataset", b""),
        ("onnx", "dataset", None),
        ("onnx", "model", None),
    ],
)
def test_a_bad_input_ends_with_its_code(
    bench: Any, quick: Any, tmp_path: Path, form: str, name: str, data: bytes | None
) -> None:
    path = tmp_path / "input"
    if data is not None:
        path.write_bytes(data)
    ran = bench.run(quick("SingleStream", "accuracy", form), _set("inputs", name, value=str(path)))
    assert ran.code == 11, ran.stderr
    assert "input" in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr


def test_a_data_set_that_the_model_does_not_take_is_a_bad_input(
    bench: Any, quick: Any, tmp_path: Path
) -> None:
    np.savez(
        tmp_path / "x.npz", x=np.zeros((1000, 14, 14, 1), np.uint8), y=np.zeros(1000, np.uint8)
    )
    ran = bench.run(quick(), _set("inputs", "dataset", value=str(tmp_path / "x.npz")))
    assert ran.code == 11
    assert "found uint8 [1000, 14, 14, 1]" in ran.stderr


def test_nothing_is_unpickled(bench: Any, quick: Any, tmp_path: Path) -> None:
    evil = np.array([object()], dtype=object)
    np.savez(tmp_path / "x.npz", x=evil, y=evil)
    ran = bench.run(quick(), _set("inputs", "dataset", value=str(tmp_path / "x.npz")))
    assert ran.code == 11
    assert "allow_pickle=False" in ran.stderr


RUNTIMES = {
    # A stand-in runtime, as a broken one would behave; everything around it is real.
    "raises later": (
        "class Interpreter(Base):\n"
        "  def invoke(self):\n"
        "    Base.calls += 1\n"
        "    if Base.calls > 400: raise RuntimeError('the driver went away')\n",
        13,
        "answering a query: the driver went away",
    ),
    "out of memory later": (
        "class Interpreter(Base):\n"
        "  def invoke(self):\n"
        "    Base.calls += 1\n"
        "    if Base.calls > 400: raise MemoryError('no 3 GB left')\n",
        14,
        "no 3 GB left",
    ),
    "out of memory at once": (
        "class Interpreter(Base):\n"
        "  def allocate_tensors(self): raise RuntimeError('std::bad_alloc')\n",
        14,
        "bad_alloc",
    ),
    "built for another numpy": (
        "class Interpreter(Base):\n"
        "  def allocate_tensors(self): raise ImportError('numpy.core.multiarray failed')\n",
        12,
        "does not work: numpy.core.multiarray failed",
    ),
}
BASE = """
import numpy as np
class Base:
  calls = 0
  def __init__(self, model_path, num_threads=1): self.shape = [1, 28, 28, 1]
  def allocate_tensors(self): pass
  def resize_tensor_input(self, index, shape): self.shape = shape
  def get_input_details(self):
    return [{"index": 0, "shape": self.shape, "dtype": np.float32, "quantization": (0.0, 0)}]
  def get_output_details(self): return [{"index": 1}]
  def set_tensor(self, index, values): self.values = values
  def get_tensor(self, index): return np.zeros((self.shape[0], 10), np.float32)
  def invoke(self): pass
"""


@pytest.mark.parametrize("scenario", ["SingleStream", "Offline"])
@pytest.mark.parametrize("case", RUNTIMES)
def test_a_failing_runtime_ends_with_its_code(
    bench: Any, quick: Any, tmp_path: Path, case: str, scenario: str
) -> None:
    source, code, expected = RUNTIMES[case]
    (tmp_path / "stand_in.py").write_text(BASE + source)
    configuration = quick(
        scenario,
        "performance",
        "tflite",
        min_duration_s="3",
        **({"batch_size": "1"} if scenario == "Offline" else {}),
    )

    def change(document: dict[str, Any]) -> None:
        document["job"]["runtime"]["module"] = "stand_in"
        # Only a few calls before LoadGen starts, so that the fault falls into its callback.
        for profile in document["job"]["benchmark"]["profiles"].values():
            profile["warmup_ms"] = profile["calibration_ms"] = 0

    ran = bench.run(configuration, change, paths=(tmp_path,))
    assert ran.code == code, ran.stderr
    assert expected in ran.stderr.splitlines()[-1]
    assert not (ran.out / "result.json").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_a_full_disk_ends_with_its_code(bench: Any, quick: Any) -> None:
    def fill(document: dict[str, Any]) -> None:
        out = bench.folder / f"job {bench._count}" / "out"
        (out / "samples.i64").symlink_to("/dev/full")

    ran = bench.run(quick(), fill)
    assert ran.code == 15, ran.stderr
    assert "No space left" in ran.stderr.splitlines()[-1]
    assert not (ran.out / "result.json").exists()


ROUNDS = {"v5.1": ("5.1.0", 1780908523862526354), "v6.1": ("6.0.17", 2085463073848966840)}


@pytest.mark.parametrize("round_name", ROUNDS)
@pytest.mark.parametrize("mode", ["performance", "accuracy", "TEST01", "TEST04"])
@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream", "Server", "Offline"])
def test_every_scenario_in_every_mode(
    bench: Any, quick: Any, scenario: str, mode: str, round_name: str
) -> None:
    # On a machine that is busy with other things, queries wait for long.
    easy = {"target_qps": "1000", "target_latency_ms": "10000"} if scenario == "Server" else {}
    ran = bench.run(quick(scenario, mode, round_name, **easy))
    assert ran.code == 0, ran.stderr
    details, result = ran.details, ran.result
    assert (result["loadgen_version"], details["effective_qsl_rng_seed"]) == ROUNDS[round_name]
    assert details["effective_scenario"] == scenario
    entries = json.loads((ran.out / "mlperf_log_accuracy.json").read_text())
    if mode == "accuracy":
        assert result["accuracy"]["correct"] == 937
        assert sorted(entry["qsl_idx"] for entry in entries) == list(range(1000))
        return
    assert details["result_validity"] == "VALID", details
    per_query = 8 if scenario == "MultiStream" else 1
    samples = np.fromfile(ran.out / "samples.i64", "<i8")
    count = details[
        "generated_samples_per_query" if scenario == "Offline" else "result_query_count"
    ]
    assert len(samples) == result["sample_count"] == count * per_query
    assert details["effective_samples_per_query"] == (count if scenario == "Offline" else per_query)
    audited = result.get("loadgen_audit_config", "")
    if mode == "TEST01":
        assert "accuracy_log_sampling_target = 4096" in audited
        assert details["effective_accuracy_log_sampling_target"] == 4096
        assert entries
    elif mode == "TEST04":
        assert details["effective_performance_issue_same"] is True
        assert details["effective_performance_issue_same_index"] == 3
        assert not entries
    else:
        assert not audited
        assert not entries
    if scenario == "MultiStream":
        assert result["calibration"]["batch_size"] == result["runtime"]["samples_per_call"] == 8


def test_multistream_in_tflite(bench: Any, quick: Any) -> None:
    ran = bench.run(quick("MultiStream", "accuracy", "tflite", "int8"))
    assert ran.code == 0, ran.stderr
    assert ran.result["accuracy"]["correct"] == 939


def test_server_takes_a_rate_and_a_limit(bench: Any, quick: Any) -> None:
    ran = bench.run(quick("Server", "performance", target_qps="500", target_latency_ms="5000"))
    assert ran.code == 0, ran.stderr
    assert ran.details["effective_target_qps"] == 500
    assert ran.details["effective_target_latency_ns"] == 5_000_000_000
    assert ran.details["result_validity"] == "VALID"


def test_a_compliance_test_that_the_benchmark_does_not_have(bench: Any, quick: Any) -> None:
    def drop(document: dict[str, Any]) -> None:
        del document["job"]["benchmark"]["compliance"]

    ran = bench.run(quick("SingleStream", "TEST01"), drop)
    assert ran.code == 10
    assert "benchmark.compliance has no valid settings for TEST01" in ran.stderr
