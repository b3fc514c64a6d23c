"""Stored runs for tests of submissions: short runs of real jobs, evaluated as usual."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

from fleetmark_controller.artifacts import pack_harness
from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.run_facts import RunInputs
from fleetmark_controller.mlperf.rules import Rules, rules
from fleetmark_controller.mlperf.stored_run import StoredFile, StoredRun
from fleetmark_core.digest import sha256_hex
from fleetmark_core.serde import to_plain

ROLES = {
    "mlperf_log_detail.txt": "loadgen_detail",
    "mlperf_log_summary.txt": "loadgen_summary",
    "mlperf_log_accuracy.json": "loadgen_accuracy",
    "samples.i64": "samples",
    "result.json": "result",
}
MLPERF = {"benchmark": "resnet", "rehearsal": "a small network on 1,000 pictures of clothes"}
MODEL = {"retraining": "trained from scratch", "weight_transformations": "none"}
CAPABILITIES = {
    "os": {"name": "Debian GNU/Linux", "version": "12", "kernel": "6.1"},
    "cpu": {"model": "Test CPU", "physical_cores": 2},
    "memory": {"total_bytes": 8 << 30},
    "storage": {"total_bytes": 64 << 30},
    "accelerators": [],
}
OUTPUT = {
    "status": "available",
    "system_name": "A device for tests",
    "system_type": "edge",
    "host_processors_per_node": "1",
    "host_memory_configuration": "DDR4",
    "host_storage_type": "SSD",
    "host_networking": "Gigabit Ethernet",
    "host_networking_topology": "one switch",
    "host_network_card_count": "1",
    "cooling": "air",
}


def short_rules(round_name: str, benchmark: str) -> Rules:
    """Return MLPerf's rules, changed for short runs on 1,000 samples."""
    found = rules(round_name, benchmark)
    return replace(
        found,
        dataset_samples=1000,
        performance_samples=1000,
        min_duration_ms=300,
        offline_min_samples=1,
    )


class Store:
    """Runs that were made, and their blobs."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        self.blobs: dict[str, bytes] = {}
        self.runs: list[StoredRun] = []
        self.made = -1

    def read(self, sha256: str) -> bytes:
        return self.blobs.get(sha256) or self.bench.blobs.path(sha256).read_bytes()

    def add(self, configuration: Any, device: str = "device") -> StoredRun:
        """Run a configuration, evaluate the run and store it."""
        lock = self.bench.lock(configuration)
        job = dict(lock.job)
        job["benchmark"] = {**job["benchmark"], "mlperf": MLPERF}
        job["model"] = {**job["model"], "mlperf": MODEL}
        lock = replace(lock, job=job)
        self.blobs[pack_harness()[0].sha256] = pack_harness()[1]
        ran = self.bench.run(configuration)
        assert ran.code == 0, ran.stderr
        paths = {name: ran.out / name for name in ROLES if (ran.out / name).exists()}
        order = {
            "scenario": configuration.scenario,
            "mode": configuration.mode,
            "profile": configuration.profile,
        }
        provenance = {"capabilities": CAPABILITIES, "program_result": ran.result}
        facts = evaluate(
            RunInputs(
                lock=to_plain(lock),
                order=order,
                final={"outcome": "completed", "provenance": provenance},
                files={ROLES[name]: path for name, path in paths.items()},
                labels_path=self.bench.blobs.path(lock.inputs["dataset"].sha256),
            )
        )
        assert not facts.problems, facts.problems
        files = {}
        for name, path in paths.items():
            data = path.read_bytes()
            files[name] = StoredFile(sha256_hex(data), len(data))
            self.blobs[files[name].sha256] = data
        number = self.made = self.made + 1
        values = asdict(facts)
        values.pop("samples")
        values["search"] = values.pop("search_trace")
        parameters = {k: v for k, v in configuration.parameters.items() if k != "min_duration_s"}
        row = {
            **values,
            "run_id": f"run-{lock.job['loadgen']['round']}-{number:03}",
            "job_id": f"job-{number}",
            "official": 1,
            "device": device,
            "arch": "x86_64",
            "os": "Debian GNU/Linux 12",
            "board": None,
            "benchmark": lock.benchmark,
            "model": "fashion-mnist-dscnn",
            "precision": "fp32",
            "dataset": "fashion-mnist-1000",
            "runtime": "onnxruntime",
            "runtime_version": "1.23.2",
            "accelerator": "CPUExecutionProvider",
            "scenario": configuration.scenario,
            "mode": configuration.mode,
            # Short runs are never submittable: here they stand for long ones.
            "profile": "valid",
            "submittable": 1,
            "parameters": json.dumps(parameters),
            "condition_reasons": json.dumps(values["condition_reasons"]),
            "lockfile_sha256": sha256_hex(lock.canonical()),
            "agent_version": "0.1.0",
        }
        run = StoredRun(row, provenance, lock, files)
        self.runs.append(run)
        return run


def output(device: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the operator's description of a device, the same for all."""
    del device
    return dict(OUTPUT), {}
