"""Genuine LoadGen runs, whole or with a few lines edited, for tests of ingest and export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fleetmark_controller.evaluation.evaluate import evaluate
from fleetmark_controller.evaluation.run_facts import RunFacts, RunInputs
from tests.support import LOADGEN_LOGS

LABELS = LOADGEN_LOGS / "labels.npz"
PERFORMANCE = (
    "singlestream_performance",
    "multistream_performance",
    "offline_performance",
    "server_performance",
)
ACCURACY = ("singlestream_accuracy", "offline_accuracy")
RUNS = (*PERFORMANCE, *ACCURACY, "singlestream_invalid")
SCENARIOS = {
    "singlestream": "SingleStream",
    "multistream": "MultiStream",
    "offline": "Offline",
    "server": "Server",
}
ROLES = {
    "mlperf_log_detail.txt": "loadgen_detail",
    "mlperf_log_summary.txt": "loadgen_summary",
    "mlperf_log_accuracy.json": "loadgen_accuracy",
    "samples.i64": "samples",
    "result.json": "result",
}
QUIET = (
    ("elapsed_ms", "temperature_c", "frequency_hz", "foreign_cpu_percent", "memory_bytes"),
    [[n * 500, 45.0 + n, 1.5e9, 3.0, 50_000_000] for n in range(10)],
)


def files(folder: Path) -> dict[str, Path]:
    """Return the existing files of a run by role."""
    return {role: folder / name for name, role in ROLES.items() if (folder / name).exists()}


def inputs(folder: Path, name: str, **changes: Any) -> RunInputs:
    """Return the inputs of `evaluate` for the run of that name with its files in `folder`."""
    scenario, mode = name.split("_")
    values: dict[str, Any] = {
        "lock": {"job": {"loadgen": {"round": "v6.1", "package_version": "6.0.17"}}},
        "order": {
            "scenario": SCENARIOS[scenario],
            "mode": "accuracy" if mode == "accuracy" else "performance",
            "profile": "quick",
        },
        "final": {"outcome": "completed", "started_unix_ns": 1, "provenance": {}},
        "files": files(folder),
        "telemetry": QUIET,
        "labels_path": LABELS,
    }
    return RunInputs(**{**values, **changes})


def evaluated(name: str, **changes: Any) -> RunFacts:
    """Return the evaluation of a genuine run."""
    return evaluate(inputs(LOADGEN_LOGS / name, name, **changes))


def copy(name: str, target: Path) -> Path:
    """Return a copy of a run's files that may be edited."""
    return Path(shutil.copytree(LOADGEN_LOGS / name, target / name))


def edit_log(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Pass every entry of the detail log through `change`, which may alter it."""
    path = folder / "mlperf_log_detail.txt"
    lines = []
    for line in path.read_text().splitlines():
        entry = json.loads(line.removeprefix(":::MLLOG "))
        change(entry)
        lines.append(f":::MLLOG {json.dumps(entry)}")
    path.write_text("\n".join(lines) + "\n")


def set_values(folder: Path, **values: Any) -> None:
    """Set keys of the detail log to other values; `__` in a key stands for a point."""
    wanted = {key.replace("__", "."): value for key, value in values.items()}

    def change(entry: dict[str, Any]) -> None:
        if entry["key"] in wanted:
            entry["value"] = wanted[entry["key"]]

    edit_log(folder, change)


def append(folder: Path, key: str, value: Any) -> None:
    """Add a line to the end of the detail log."""
    entry = {"key": key, "value": value, "time_ms": 1e5, "metadata": {"is_error": False}}
    with (folder / "mlperf_log_detail.txt").open("a") as file:
        file.write(f":::MLLOG {json.dumps(entry)}\n")


def codes(facts: RunFacts) -> set[str]:
    """Return the codes of the condition reasons."""
    return {reason["code"] for reason in facts.condition_reasons}
