"""Blocks of one model, run with the interpreter and the wheels of a job: `models_blocks.py SPEC`.

SPEC is a JSON file with `paths` (of the environment and of the harness), `runtime` (the lockfile's
table), `model`, `table` (the model's table), `rounds`, `seconds`, `out`. All blocks run in this one
process and take turns, so that the machine's own variation falls on all of them alike. Prints, for
each round, the median time in ns of a query by part, and the rates of Offline, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BATCH_SIZE = 8
WARMUP_S = 0.3
SAMPLES = 64
_MARGIN = 1.4


def main(spec: dict[str, Any]) -> list[dict[str, float]]:
    """Run all rounds."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.path[:0] = spec["paths"]
    import mlperf_loadgen as loadgen
    import numpy as np

    from fleetmark_harness.adapters import open_model
    from fleetmark_harness.job import JobSpec
    from fleetmark_harness.tensors import RandomTensors

    out = Path(spec["out"])
    tables = {
        "model": spec["table"],
        "dataset": {"samples": SAMPLES, "seed": 1},
        "runtime": spec["runtime"],
        "benchmark": {"profiles": {"quick": {}}},
    }
    blocks = {}
    for scenario, size in (("SingleStream", 1), ("Offline", BATCH_SIZE)):
        adapter = open_model(spec["runtime"], Path(spec["model"]), 1, size, spec["table"])
        job = JobSpec("bench", 1, scenario, "performance", "quick", {}, {}, tables, out, 3600.0)
        task = RandomTensors(job, adapter, size)
        data = task.prepare(np.arange(SAMPLES, dtype=np.int64))
        batches = [data[n : n + size] for n in range(0, SAMPLES, size)]
        blocks[scenario] = _Blocks(loadgen, job, adapter, task, batches, spec["seconds"])
    single, offline = blocks["SingleStream"], blocks["Offline"]
    for block in blocks.values():
        _median_ns(block.bare(), WARMUP_S)
    rounds = []
    for number in range(spec["rounds"]):
        steps: list[Callable[[], dict[str, float]]] = [
            lambda: {"bare": _median_ns(single.bare(), spec["seconds"])},
            lambda: {"adapter": _median_ns(single.adapter(), spec["seconds"])},
            lambda: {"answer": _median_ns(single.answer(), spec["seconds"])},
            single.queries,
            offline.bare_rate,
            offline.rate,
            lambda: {"bare again": _median_ns(single.bare(), spec["seconds"])},
        ]
        found: dict[str, float] = {}
        for step in steps if number % 2 == 0 else reversed(steps):
            found |= step()
        rounds.append(found)
    return rounds


def _median_ns(call: Callable[[int], object], seconds: float) -> float:
    import numpy as np

    taken: list[int] = []
    clock = time.perf_counter_ns
    now, end = 0, clock() + int(seconds * 1e9)
    while now < end:
        start = clock()
        call(len(taken))
        now = clock()
        taken.append(now - start)
    return float(np.median(taken))


def _bare_call(adapter: Any, batch: Any) -> Callable[[], object]:
    """Return the runtime's own call for a batch; `adapter` holds the opened model."""
    name = type(adapter).__name__
    if name == "OnnxModel":
        run, outputs, feeds = adapter._session.run, adapter._outputs, {adapter.input_name: batch}
        return lambda: run(outputs, feeds)
    if name == "TfliteModel":
        interpreter, place = adapter._interpreter, adapter._input["index"]
        output = adapter._output

        def tflite() -> object:
            interpreter.set_tensor(place, batch)
            interpreter.invoke()
            return interpreter.get_tensor(output)

        return tflite
    if name == "OpenvinoModel":
        request, output, feeds = adapter._request, adapter._output, {adapter.input_name: batch}

        def openvino() -> object:
            request.infer(feeds, share_inputs=True)
            return request.get_tensor(output).data

        return openvino
    if name == "OpencvModel":
        net, first = adapter._net, adapter._outputs[0]

        def opencv() -> object:
            net.setInput(batch)
            return net.forward(first)

        return opencv
    raise ValueError(f"no bare call for {name}")


class _Blocks:
    """The blocks of one scenario."""

    def __init__(
        self, loadgen: Any, job: Any, adapter: Any, task: Any, batches: list[Any], seconds: float
    ) -> None:
        self._loadgen, self._job, self._adapter, self._task = loadgen, job, adapter, task
        self._batches, self._seconds = batches, seconds

    def bare(self) -> Callable[[int], object]:
        """Return a call of the runtime alone: the shortest way to the outputs of one batch.

        A graph with a fixed batch of one needs a call per sample.
        """
        inner = getattr(self._adapter, "_adapter", self._adapter)  # that which a wrapper calls
        size = self._adapter.samples_per_call if inner is not self._adapter else None
        calls = [
            [
                _bare_call(inner, batch[n : n + (size or len(batch))])
                for n in range(0, len(batch), size or len(batch))
            ]
            for batch in self._batches
        ]
        if len(calls[0]) == 1:
            single, count = [group[0] for group in calls], len(calls)
            return lambda turn: single[turn % count]()

        def several(turn: int) -> None:
            for call in calls[turn % len(calls)]:
                call()

        return several

    def adapter(self) -> Callable[[int], object]:
        """Return a call of the adapter."""
        run, batches, count = self._task.run, self._batches, len(self._batches)
        return lambda turn: run(batches[turn % count])

    def answer(self) -> Callable[[int], object]:
        """Return a call of the adapter that also reduces the output to an answer."""
        run, answer = self._task.run, self._task.answer
        batches, count = self._batches, len(self._batches)
        return lambda turn: answer(run(batches[turn % count]))[0]

    def queries(self) -> dict[str, float]:
        """Return the medians of a query, by the harness and by LoadGen."""
        import numpy as np

        expected_ns = _median_ns(self.answer(), 0.1) / _MARGIN
        settings = self._settings()
        settings.single_stream_expected_latency_ns = int(expected_ns)
        ran, details = self._test(settings, int(self._seconds * 2e9 / expected_ns))
        return {
            "harness": float(np.median(ran.samples)),
            "loadgen": float(details["result_50.00_percentile_latency_ns"]),
        }

    def bare_rate(self) -> dict[str, float]:
        """Return the samples per second of a bare loop over batches."""
        call, size = self.bare(), len(self._batches[0])
        calls, began = 0, time.perf_counter_ns()
        while time.perf_counter_ns() - began < self._seconds * 1e9:
            call(calls)
            calls += 1
        return {"bare rate": calls * size * 1e9 / (time.perf_counter_ns() - began)}

    def rate(self) -> dict[str, float]:
        """Return LoadGen's samples per second in Offline, of whole batches as in a job."""
        from fleetmark_harness.settings import offline_sample_count

        size = len(self._batches[0])
        expected = self.bare_rate_estimate()
        settings = self._settings()
        settings.offline_expected_qps = expected
        count = offline_sample_count(expected, int(settings.min_duration_ms), 1, size)
        settings.min_query_count = count
        _, details = self._test(settings, count)
        return {"rate": float(details["result_samples_per_second"])}

    def bare_rate_estimate(self) -> float:
        """Return the approximate samples per second."""
        return len(self._batches[0]) * 1e9 / _median_ns(self.bare(), 0.1)

    def _settings(self) -> Any:
        loadgen, settings = self._loadgen, self._loadgen.TestSettings()
        settings.scenario = getattr(loadgen.TestScenario, self._job.scenario)
        settings.mode = loadgen.TestMode.PerformanceOnly
        settings.min_duration_ms = int(self._seconds * 1000)
        settings.min_query_count = 1
        return settings

    def _test(self, settings: Any, expected: int) -> tuple[Any, dict[str, Any]]:
        from fleetmark_harness.loadgen_test import Test

        out = self._job.out
        test = Test(self._loadgen, self._job, self._task, len(self._batches[0]), expected)
        ran = test.run(settings, out)
        lines = (out / "mlperf_log_detail.txt").read_text().splitlines()
        entries = (json.loads(line.partition(" ")[2]) for line in lines)
        return ran, {entry["key"]: entry["value"] for entry in entries}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_bytes()))))
