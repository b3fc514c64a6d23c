"""Random small models on real runtimes, under a clock that counts what was computed.

It runs in a job's environment: `python -m tests.support.random_models ADAPTER COUNT SEED`. The
runtime's inference advances the clock by a fixed time for each sample that the runtime really gets,
so the true throughput of each model is known, whatever the machine does meanwhile.
"""

from __future__ import annotations

import importlib
import itertools
import json
import math
import random
import sys
import tempfile
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fleetmark_harness import calibrate as calibration_module
from fleetmark_harness import sut as sut_module
from fleetmark_harness.adapters import open_model
from fleetmark_harness.calibrate import calibrate
from fleetmark_harness.exit_codes import BAD_INPUT, JobError
from fleetmark_harness.results import computed_samples
from fleetmark_harness.settings import RequestedSettings, user_conf
from fleetmark_harness.sut import InlineSut, Library, WorkerSut
from fleetmark_harness.tensors import RandomTensors
from tests.support.fake_loadgen import FakeLoadgen
from tests.support.model_files import Node, Value, onnx_graph, tflite_graph

SAMPLES = 16
UNARY = ("Relu", "Abs", "Neg", "Sigmoid", "Tanh")
DTYPES = {
    "onnxruntime": ("float32", "float16", "float64", "int8", "int32", "int64", "uint8"),
    "openvino": ("float32", "int32", "int64"),
    "opencv": ("float32",),
    "tflite": ("float32", "int32"),
}


@dataclass
class Clock:
    """Time in ns; it passes only while samples are computed."""

    now_ns: int = 0
    sample_ns: int = 1000
    computed: int = 0

    def compute(self, samples: int) -> None:
        self.computed += samples
        self.now_ns += samples * self.sample_ns

    def perf_counter_ns(self) -> int:
        return self.now_ns


CLOCK = Clock()


def counting_module(name: str) -> types.ModuleType:
    """Return a module like the runtime's, whose inferences advance the clock."""
    real = importlib.import_module(
        {"tflite": "ai_edge_litert.interpreter", "opencv": "cv2"}.get(name, name)
    )
    module = types.ModuleType(f"counting_{name}")
    module.__dict__.update({key: value for key, value in vars(real).items() if key != "__name__"})
    COUNTING[name](module, real)
    sys.modules[module.__name__] = module
    return module


def _count_onnxruntime(module: Any, real: Any) -> None:
    class Session(real.InferenceSession):  # type: ignore[misc]
        def run(self, names: Any, feeds: Any, *rest: Any) -> Any:
            CLOCK.compute(len(feeds["x"]))
            return super().run(names, feeds, *rest)

    module.InferenceSession = Session


def _count_tflite(module: Any, real: Any) -> None:
    class Interpreter(real.Interpreter):  # type: ignore[misc]
        def invoke(self) -> None:
            (tensor,) = (t for t in self.get_input_details() if t["name"] == "x")
            CLOCK.compute(int(tensor["shape"][0]))
            super().invoke()

    module.Interpreter = Interpreter


def _count_openvino(module: Any, real: Any) -> None:
    class Request:
        def __init__(self, request: Any) -> None:
            self._request = request

        def __getattr__(self, name: str) -> Any:
            return getattr(self._request, name)

        def infer(self, feeds: Any, **options: Any) -> Any:
            CLOCK.compute(len(feeds["x"]))
            return self._request.infer(feeds, **options)

    class Compiled:
        def __init__(self, compiled: Any) -> None:
            self._compiled = compiled

        def __getattr__(self, name: str) -> Any:
            return getattr(self._compiled, name)

        def create_infer_request(self) -> Request:
            return Request(self._compiled.create_infer_request())

    class Core(real.Core):  # type: ignore[misc]
        def compile_model(self, *arguments: Any, **options: Any) -> Any:
            return Compiled(super().compile_model(*arguments, **options))

    module.Core = Core


def _count_opencv(module: Any, real: Any) -> None:
    class Net:
        def __init__(self, net: Any) -> None:
            self._net, self._batch = net, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._net, name)

        def setInput(self, batch: Any, *name: Any) -> None:
            self._batch = len(batch)
            self._net.setInput(batch, *name)

        def forward(self, *names: Any) -> Any:
            CLOCK.compute(self._batch)
            return self._net.forward(*names)

    parts = {key: value for key, value in vars(real.dnn).items() if not key.startswith("__")}
    module.dnn = SimpleNamespace(
        **{**parts, "readNetFromONNX": lambda path: Net(real.dnn.readNetFromONNX(path))}
    )


COUNTING = {
    "onnxruntime": _count_onnxruntime,
    "tflite": _count_tflite,
    "openvino": _count_openvino,
    "opencv": _count_opencv,
}


@dataclass
class Model:
    """A random model: its file, the shape of a sample, and how its output depends on the batch."""

    data: bytes
    shape: tuple[int, ...]
    dtype: str
    batch: int
    """Number of samples that the graph fixes; 0 if it leaves it open."""
    layout: str
    table: dict[str, Any] = field(default_factory=dict)


def random_model(
    adapter: str,
    choose: random.Random,
    largest: int = 5,
    longest: int = 1,
    least_work: int = 0,
) -> Model:
    """Return a random model that the adapter's runtime can read.

    Args:
        adapter: the name of the adapter.
        choose: the source of all choices.
        largest: largest size of an axis of a sample.
        longest: factor of the largest number of nodes.
        least_work: least product of values of a sample and nodes; `largest` and `longest` must
            allow it.
    """
    most = (4 if adapter == "tflite" else 6) * longest
    shape = tuple(choose.randint(1, largest) for _ in range(choose.randint(1, 3)))
    while math.prod(shape) * most < least_work:
        shape = tuple(choose.randint(1, largest) for _ in range(choose.randint(1, 3)))
    least = -(-least_work // math.prod(shape))
    dtype = choose.choice(DTYPES[adapter])
    batch = choose.choice((0, 0, 1, choose.randint(2, 9)))
    if adapter == "tflite":
        batch = choose.choice((0, 1))
        names = ["x", *(f"t{n}" for n in range(choose.randint(least, most))), "y"]
        nodes = [Node("ADD", (a, a), b) for a, b in itertools.pairwise(names)]
        sizes = (batch or None, *shape)
        ends = [Value("x", dtype, sizes)], [Value("y", dtype, sizes)]
        return Model(tflite_graph(*ends, nodes=nodes), shape, dtype, batch, "batch first")
    layouts = ["batch first", "batch first", "reversed", "one value"]
    layout = choose.choice(layouts if adapter == "onnxruntime" else layouts[:2])
    floating = dtype.startswith("float")
    kinds = UNARY if floating else ("Abs",)
    steps = [choose.choice(kinds) for _ in range(choose.randint(max(1, least), most))]
    if dtype == "float64":
        steps = ["Abs"] * len(steps)
    steps += {"batch first": [], "reversed": ["Transpose"], "one value": ["ReduceMax"]}[layout]
    names = ["x", *(f"t{n}" for n in range(len(steps) - 1)), "y"]
    nodes = [Node(k, (a,), b) for k, a, b in zip(steps, names, names[1:], strict=False)]
    output: Sequence[int | str | None] | None = (batch or "batch", *shape)
    if layout != "batch first":
        output = None
    ends = [Value("x", dtype, (batch or "batch", *shape))], [Value("y", dtype, output)]
    entry: dict[str, object] = {"name": "x", "shape": list(shape), "dtype": dtype}
    table = {"input": entry}
    if batch > 1:
        entry["batch"] = batch
    return Model(onnx_graph(*ends, nodes=nodes), shape, dtype, batch, layout, table)


def _queries(count: int) -> Iterator[Any]:
    return (SimpleNamespace(id=1000 + n, index=n % SAMPLES) for n in range(count))


def _value(text: str, key: str) -> float:
    (found,) = (line.split("=")[1] for line in text.splitlines() if f".{key} " in line)
    return float(found)


def offline_figure(adapter: Any, task: Any, batch_size: int, rate_share: float) -> float:
    """Return the samples per second that LoadGen would report, by the clock.

    `rate_share` is the minimum duration, in calibrated batches.
    """
    progress: Any = SimpleNamespace(report=lambda *_: None)
    calibration = calibrate(task, batch_size, 0, 0, progress, respond=lambda _: None)
    duration_ms = max(1, int(calibration.latency_ns * rate_share / 1e6))
    settings = {"min_duration_ms": duration_ms, "min_query_count": 1}
    text = user_conf("Offline", settings, calibration, RequestedSettings(duration_ms))
    # kSlack of LoadGen's test_settings_internal.cc.
    estimate = int(1.1 * _value(text, "target_qps") * duration_ms / 1000)
    count = max(estimate, int(_value(text, "min_query_count")))
    count = min(count, 40 * batch_size)
    loadgen, library = FakeLoadgen(), Library(task)
    library.load(range(SAMPLES))
    answers = np.full(SAMPLES, -1, np.int32)
    sut = WorkerSut(loadgen, task, library, answers, count, batch_size)
    CLOCK.computed, start_ns = 0, CLOCK.now_ns
    sut.issue(list(_queries(count)))
    sut.close()
    assert sorted(loadgen.answers) == list(range(1000, 1000 + count))
    measured: Any = SimpleNamespace(sample_count=count, short_batches=sut.short_batches)
    job: Any = SimpleNamespace(scenario="Offline", batch_size=batch_size)
    assert computed_samples(job, adapter, measured) == CLOCK.computed, "wrong computed count"
    return count / (CLOCK.now_ns - start_ns) * 1e9


def single_latency_ns(task: Any) -> int:
    """Return the latency of a query in SingleStream, by the clock."""
    loadgen, library = FakeLoadgen(), Library(task)
    library.load(range(SAMPLES))
    sut = InlineSut(loadgen, task, library, np.full(SAMPLES, -1, np.int32), 8)
    for query in _queries(8):
        sut.issue([query])
    values = set(sut.samples.values().tolist())
    assert len(values) == 1
    return int(values.pop())


def check(name: str, model: Model, folder: Path, choose: random.Random) -> str:
    """Check one model; return a note if the harness refuses it with a reason."""
    path = folder / ("model.tflite" if name == "tflite" else "model.onnx")
    path.write_bytes(model.data)
    CLOCK.sample_ns = choose.randint(1, 10**9)
    batch_size = choose.choice((1, 2, 3, 8, 32))
    runtime = {"name": name, "module": f"counting_{name}", "package": "numpy"}
    tables = {
        "dataset": {"samples": SAMPLES, "seed": 3},
        "model": model.table or {"input": {"shape": list(model.shape), "dtype": model.dtype}},
    }
    job: Any = SimpleNamespace(table=tables.__getitem__)

    def opened(size: int) -> tuple[Any, Any]:
        adapter = open_model(runtime, path, 1, size, tables["model"])
        return adapter, RandomTensors(job, adapter, size)

    adapter, task = opened(batch_size)
    if adapter.fixed_batch:  # as `run` does in Offline
        size = -(-batch_size // adapter.samples_per_call) * adapter.samples_per_call
        if size != batch_size:
            batch_size = size
            adapter, task = opened(size)
    true_rate = 1e9 / CLOCK.sample_ns
    figure = offline_figure(adapter, task, batch_size, choose.uniform(0.1, 20))
    assert figure <= true_rate * 1.000001, f"{figure} samples/s, but {true_rate} are computed"
    assert figure >= true_rate * 0.999, f"{figure} samples/s, but {true_rate} are computed"
    if model.layout != "one value":
        _compare_with_single_samples(model, task, opened)
    single, task = opened(1)
    per_query = CLOCK.sample_ns * (single.samples_per_call if single.fixed_batch else 1)
    assert single_latency_ns(task) == per_query
    return ""


def _compare_with_single_samples(model: Model, task: Any, opened: Any) -> None:
    """Check that a sample's answer does not depend on the batch that it is in."""
    size = task._batch_size
    if size == 1 or {size, model.batch} & set(model.shape):
        return  # more than one axis of the output can be the batch
    samples = task.prepare(np.arange(size, dtype=np.int64) % SAMPLES)
    together = np.asarray(task.answer(task.run(samples))).tolist()
    _, alone = opened(1)
    each = [int(alone.answer(alone.run(samples[n : n + 1]))[0]) for n in range(size)]
    assert together == each, f"{together} in a batch, {each} alone"


def main(name: str, count: int, seed: int) -> None:
    """Check `count` models; print how many were measured and refused."""
    counting_module(name)
    for module in (sut_module, calibration_module):
        module.time = CLOCK  # type: ignore[attr-defined]
    choose = random.Random(seed)
    refused: dict[str, int] = {}
    measured = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            model = random_model(name, choose)
            try:
                check(name, model, Path(folder), choose)
                measured += 1
            except JobError as error:
                if error.code != BAD_INPUT:
                    raise
                text = str(error)[:90]
                refused[text] = refused.get(text, 0) + 1
            except BaseException:
                print(
                    f"model {number}: sample {model.shape} of {model.dtype}, batch {model.batch},"
                    f" {model.layout}",
                    file=sys.stderr,
                )
                raise
    print(json.dumps({"measured": measured, "refused": refused}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
