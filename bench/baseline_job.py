"""Baseline for a job, run with the job's own interpreter and wheels.

`baseline_job.py (loop|loadgen) SPEC`: SPEC is a JSON file with `paths` (of the environment),
`model`, `samples`, `seconds`, `out` (a folder). `loop` times each call of the session; `loadgen` is
the shortest SUT that answers LoadGen's SingleStream. Prints percentiles in nanoseconds as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

WARMUP_S = 0.1
CALIBRATION_S = 0.2
# The same value as in the harness, so that LoadGen pre-generates equally many queries.
LATENCY_MARGIN = 1.4
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


def main(kind: str, spec: dict[str, Any]) -> dict[str, float]:
    """Run one block; return its percentiles in nanoseconds."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.path[:0] = spec["paths"]
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(spec["model"], options, providers=providers)
    (tensor,) = session.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in tensor.shape]
    random = np.random.default_rng(1)
    samples = [random.random(shape, np.float32) for _ in range(spec["samples"])]
    feeds = [{tensor.name: sample} for sample in samples]
    outputs = [session.get_outputs()[0].name]

    def loop(seconds: float) -> list[int]:
        taken: list[int] = []
        run, clock, count = session.run, time.perf_counter_ns, len(feeds)
        end = clock() + int(seconds * 1e9)
        now = 0
        while now < end:
            start = clock()
            run(outputs, feeds[len(taken) % count])
            now = clock()
            taken.append(now - start)
        return taken

    loop(WARMUP_S)
    calibrated = loop(CALIBRATION_S)
    if kind == "loop":
        taken = loop(spec["seconds"])
        return {name: float(np.quantile(taken, part)) for name, part in QUANTILES.items()}
    expected_ms = float(np.quantile(calibrated, 0.05)) * LATENCY_MARGIN / 1e6
    _loadgen(session.run, outputs, feeds, expected_ms, spec)
    return _percentiles(Path(spec["out"]))


def _loadgen(run: Any, outputs: Any, feeds: Any, expected_ms: float, spec: dict[str, Any]) -> None:
    import mlperf_loadgen as loadgen
    import numpy as np

    answer = np.zeros(1, np.int32)
    address = answer.ctypes.data

    def issue(query: Any) -> None:
        for sample in query:
            answer[0] = run(outputs, feeds[sample.index])[0].argmax()
            loadgen.QuerySamplesComplete([loadgen.QuerySampleResponse(sample.id, address, 4)])

    def nothing(*_arguments: Any) -> None:
        return None

    conf = Path(spec["out"]) / "user.conf"
    conf.write_text(
        f"*.SingleStream.min_duration = {round(spec['seconds'] * 1000)}\n"
        "*.SingleStream.min_query_count = 100\n"
        f"*.SingleStream.target_latency = {expected_ms:.6g}\n"
    )
    settings = loadgen.TestSettings()
    if settings.FromConfig(str(conf), "bench", "SingleStream"):
        sys.exit("LoadGen refuses its settings")
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    output = loadgen.LogOutputSettings()
    output.outdir = spec["out"]
    output.copy_summary_to_stdout = False
    log = loadgen.LogSettings()
    log.log_output = output
    log.enable_trace = False
    system = loadgen.ConstructSUT(issue, nothing)
    library = loadgen.ConstructQSL(len(feeds), len(feeds), nothing, nothing)
    loadgen.StartTestWithLogSettings(system, library, settings, log)
    loadgen.DestroyQSL(library)
    loadgen.DestroySUT(system)


def _percentiles(out: Path) -> dict[str, float]:
    """Return LoadGen's own percentiles."""
    names = {
        "result_50.00_percentile_latency_ns": "p50",
        "result_90.00_percentile_latency_ns": "p90",
        "result_99.00_percentile_latency_ns": "p99",
    }
    found: dict[str, float] = {}
    for line in (out / "mlperf_log_detail.txt").read_text().splitlines():
        values = json.loads(line.partition(" ")[2])
        if values["key"] in names:
            found[names[values["key"]]] = float(values["value"])
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_bytes()))))
