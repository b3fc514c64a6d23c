"""Submissions that Fleetmark did not write, from LoadGen's genuine logs of moments."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from fleetmark_controller.loadgen.rules import ROUND_SEEDS
from fleetmark_controller.mlperf.rules import Rules, rules
from fleetmark_controller.mlperf.system import FIELDS
from tests.support import LOADGEN_LOGS

SYSTEM = "desk-onnxruntime"
ROOT = "open/Others"


def lenient_rules(round_name: str, benchmark: str) -> Rules:
    """Return MLPerf's rules, changed for short genuine logs of 1,000 samples, with v6.1's seeds."""
    return replace(
        rules(round_name, benchmark),
        dataset_samples=1000,
        performance_samples=1000,
        min_duration_ms=100,
        offline_min_samples=1,
        seeds=ROUND_SEEDS["v6.1"],
    )


def write(path: Path, text: str) -> None:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def third_party_tree(
    folder: Path,
    results: Iterable[tuple[str, str]] = (
        ("singlestream", "singlestream"),
        ("multistream", "singlestream"),
        ("offline", "singlestream"),
    ),
    *,
    model: str = "resnet50",
) -> Path:
    """Write a tree of the layout of v5.1 as others write theirs; return its root.

    Its model, folders and description are not what Fleetmark would write: `resnet50`, lower-case
    scenarios, numbers and further fields, no manifest.

    Args:
        folder: where the tree is to be.
        results: the scenario's folder, and the scenario of the genuine logs that it gets.
        model: the name of the model.
    """
    root = folder / "tree"
    fields: dict[str, object] = dict.fromkeys(FIELDS, "said")
    fields |= {"division": "open", "submitter": "others", "status": "Available"}
    fields |= {"system_type": "edge", "number_of_nodes": 1, "host_processors_per_node": "2"}
    fields |= {"accelerators_per_node": "0", "power_management": "none", "colour": "red"}
    write(root / ROOT / "systems" / f"{SYSTEM}.json", json.dumps(fields))
    write(root / ROOT / "code" / model / "README.md", "how to run it")
    for scenario, source in results:
        place = f"{SYSTEM}/{model}/{scenario}"
        measured = root / ROOT / "measurements" / place
        write(measured / "user.conf", "*.SingleStream.target_latency = 10\n")
        write(measured / "README.md", "measured")
        output = dict.fromkeys(
            (
                *("input_data_types", "retraining", "starting_weights_filename"),
                *("weight_data_types", "weight_transformations"),
            ),
            "fp32",
        )
        write(measured / f"{SYSTEM}.json", json.dumps(output))
        performance = root / ROOT / "results" / place / "performance/run_1"
        accuracy = root / ROOT / "results" / place / "accuracy"
        for target, name in ((performance, "performance"), (accuracy, "accuracy")):
            target.mkdir(parents=True)
            logs = LOADGEN_LOGS / f"{source}_{name}"
            if not logs.is_dir():
                logs = LOADGEN_LOGS / f"singlestream_{name}"
            for log in ("mlperf_log_detail.txt", "mlperf_log_summary.txt"):
                shutil.copy(logs / log, target / log)
        write(accuracy / "accuracy.txt", "accuracy=93.700%, good=937, total=1000\r\nhash=ab12\r\n")
        write(accuracy / "mlperf_log_accuracy.json", "[\n]\n")
    return root
