"""A job in a runtime's environment whose model gets faster after its calibration."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from fleetmark_harness.calibrate import Calibration, calibrate
from fleetmark_harness.job import JobSpec
from fleetmark_harness.loadgen_run import measure
from fleetmark_harness.loadgen_test import DETAIL
from fleetmark_harness.progress import ProgressReporter
from fleetmark_harness.run_size import RunSize
from fleetmark_harness.tensors import RandomTensors

SLOW_S, FAST_S = 0.02, 0.001
PREFIX = ":::MLLOG "


class FasterModel:
    """A model that sleeps."""

    def __init__(self) -> None:
        self.input_shape, self.dtype, self.delay_s = (3,), np.float32, SLOW_S

    def run(self, batch: Any) -> Any:
        time.sleep(self.delay_s)
        return np.stack([batch, -batch], axis=1)


def run(scenario: str, parameters: dict[str, Any], limit_s: float) -> dict[str, Any]:
    loadgen: Any = __import__("mlperf_loadgen")
    batch_size = {"Offline": 4, "MultiStream": 8}.get(scenario, 1)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"min_duration_ms": 1500, "min_query_count": 1}
        job = JobSpec(
            job_id="j",
            epoch=1,
            scenario=scenario,
            mode="performance",
            profile="quick",
            parameters={"batch_size": batch_size, **parameters},
            inputs={},
            job={"benchmark": {"profiles": {"quick": {scenario: settings}}}},
            out=Path(folder),
            limit_s=limit_s,
        )
        tables = {"dataset": {"samples": 64, "seed": 3}, "model": {"input": {}}}
        data: Any = SimpleNamespace(table=tables.__getitem__)
        progress = ProgressReporter()
        model = FasterModel()
        task = RandomTensors(data, model, batch_size)
        calibration: Calibration = calibrate(task, batch_size, 20, 20, progress)
        model.delay_s = FAST_S
        count = {"SingleStream": 64, "MultiStream": 662}.get(scenario, batch_size)
        found = measure(
            loadgen, job, task, calibration, RunSize(count, count), progress, time.monotonic()
        )
        lines = (job.out / DETAIL).read_text().splitlines()
    details = {}
    for line in lines:
        entry = json.loads(line.removeprefix(PREFIX))
        details[entry["key"]] = entry["value"]
    return {
        "repeated": found.repeated_tests,
        "validity": details["result_validity"],
        "samples": found.sample_count,
        "durations": len(found.samples),
        "user_conf": found.user_conf,
        "target_qps": details.get("effective_target_qps"),
        "first_latency_ns": calibration.latency_ns,
        "latency_ns": found.calibration.latency_ns,
    }


if __name__ == "__main__":
    print(
        json.dumps(
            {
                "Offline": run("Offline", {}, 600),
                "SingleStream": run("SingleStream", {}, 600),
                "MultiStream": run("MultiStream", {}, 600),
                "given": run("Offline", {"target_qps": 200}, 600),
                "no time": run("Offline", {}, 0.5),
            }
        )
    )
