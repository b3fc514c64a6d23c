"""Measures what the harness adds to a model's own time, on each runtime: `make bench-models`.

For each runtime and model, blocks take turns in one process of a job's environment: a bare loop
around the runtime, the adapter, the adapter with the answer, LoadGen's SingleStream through the
harness, a bare loop over batches, and LoadGen's Offline. The goals hold for medians over the
rounds; the bare loop is measured twice per round, which shows the machine's own variation.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import readings
from generated_model import write_cnn
from lab import Lab
from markdown import table

from fleetmark_catalog.load import BUILTIN

BENCH = Path(__file__).parent
MODEL_MS = 0.1
"""Models from this time per sample on have goals as ratios, faster ones as absolute times."""
P50_GOAL, RATE_GOAL, OWN_US_GOAL = 0.03, 0.95, 1.5
RUNTIMES = {
    "onnxruntime": ["onnx"],
    "openvino": ["onnx", "openvino"],
    "opencv": ["onnx", "opencv"],
    "tflite": ["tflite"],
}
CNN = {"input": {"name": "input", "shape": [32, 28, 28]}}
IMAGE = {"input": {"name": "image", "shape": [28, 28, 1]}}
TEXT = {"input": {"name": "bytes", "shape": [128], "dtype": "int32", "range": [0, 256]}}


@dataclass(frozen=True)
class Subject:
    """One model on one runtime, and the rounds that were measured."""

    runtime: str
    title: str
    rounds: Sequence[dict[str, float]]

    def median(self, name: str) -> float:
        """Return the median of a figure over the rounds."""
        return statistics.median(one[name] for one in self.rounds)

    def ratio(self, over: str, under: str) -> float:
        """Return the median ratio of two figures of the same round."""
        return statistics.median(one[over] / one[under] for one in self.rounds)

    def difference_us(self, more: str, less: str) -> float:
        """Return the median difference of two figures of the same round, in µs."""
        return statistics.median(one[more] - one[less] for one in self.rounds) / 1000

    @property
    def is_large(self) -> bool:
        """True if the goals are ratios."""
        return self.median("bare") >= MODEL_MS * 1e6

    @property
    def own_us(self) -> float:
        """Time per query that the adapter and the harness add, in µs."""
        return self.difference_us("adapter", "bare") + self.difference_us("harness", "answer")

    @property
    def missed(self) -> list[str]:
        """The goals that were missed, as texts."""
        found = []
        noise = abs(self.ratio("bare again", "bare") - 1)
        where = f"{self.runtime}, {self.title}"
        if self.is_large:
            p50 = self.ratio("loadgen", "bare")
            if abs(p50 - 1) > P50_GOAL + noise:
                found.append(f"{where}: p50 is {p50:.3f} of a bare loop's, noise {noise:.3f}")
            rate = self.ratio("rate", "bare rate")
            if rate < RATE_GOAL - noise:
                found.append(f"{where}: Offline has {rate:.3f} of a bare loop's rate")
        elif self.own_us > OWN_US_GOAL + noise * self.median("bare") / 1000:
            found.append(f"{where}: the harness adds {self.own_us:.2f} µs")
        return found


def models_of(runtime: str, folder: Path) -> list[tuple[str, Path, dict[str, Any]]]:
    """Return title, file and table of the models for a runtime."""
    ends = "tflite" if runtime == "tflite" else "onnx"
    shipped = BUILTIN / "model"
    found = [("DS-CNN", shipped / "fashion-mnist-dscnn" / f"dscnn_fp32.{ends}", IMAGE)]
    if runtime != "opencv":  # it has no integer inputs
        found.insert(0, ("language id", shipped / "language-id" / f"lid_fp32.{ends}", TEXT))
    if runtime != "tflite":
        for layers in (4, 40):
            path = folder / f"cnn-{layers}.onnx"
            if not path.exists():
                write_cnn(path, layers)
            found.append((f"CNN, {layers} layers", path, CNN))
    return found


class Bench:
    """A lab whose agent makes the environments, with their interpreter."""

    def __init__(self, lab: Lab) -> None:
        """Start a controller and an agent."""
        self.lab = lab
        lab.start_controller()
        lab.start_agent("bench", "detect_interval_s = 0\n")

    def environment(self, variations: Sequence[str]) -> tuple[str, Path, dict[str, Any]]:
        """Run a short job; return its interpreter, environment and runtime table."""
        words = ["fashion-mnist", "--fleet", "name=bench", "--scenario", "SingleStream"]
        for variation in ("fp32", *variations):
            words += ["--variation", variation]
        self.lab.controller(
            *("schedule", *words, "--mode", "performance"),
            "--param",
            "min_duration_s=0.2",
            "--wait",
        )
        with sqlite3.connect(self.lab.folder / "controller" / "results.db") as store:
            text, lock = store.execute(
                "SELECT provenance, lock.content FROM run JOIN lock USING (lock_sha256)"
                " ORDER BY run_id DESC LIMIT 1"
            ).fetchone()
        provenance, job = json.loads(text), json.loads(lock)["job"]
        folder = self.lab.folder / "bench" / "cache" / "envs" / provenance["environment_key"]
        return provenance["interpreter"]["path"], folder, job["runtime"]


def measure(options: argparse.Namespace) -> list[Subject]:
    """Run all blocks of all models on all runtimes."""
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="fleetmark-bench-") as scratch,
        Lab(Path(scratch)) as lab,
    ):
        bench = Bench(lab)
        for runtime, variations in RUNTIMES.items():
            python, environment, described = bench.environment(variations)
            for title, model, description in models_of(runtime, lab.folder):
                out = lab.folder / "out"
                out.mkdir(exist_ok=True)
                spec = {
                    "paths": [str(environment), str(BENCH.parent / "catalog")],
                    "runtime": described,
                    "model": str(model),
                    "table": description,
                    "rounds": options.rounds,
                    "seconds": options.seconds,
                    "out": str(out),
                }
                file = lab.folder / "spec.json"
                file.write_text(json.dumps(spec))
                program = [python, "-I", "-S", "-B", str(BENCH / "models_blocks.py"), str(file)]
                done = subprocess.run(program, cwd=out, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise RuntimeError(f"{runtime}, {title}: {done.stderr.strip()[-2000:]}")
                rounds = json.loads(done.stdout.splitlines()[-1])
                found.append(Subject(runtime, title, rounds))
    return found


def report(found: Sequence[Subject]) -> str:
    """Return the report as Markdown."""
    rows = [
        [
            f"{one.runtime}, {one.title}",
            f"{one.median('bare') / 1e6:.4f}",
            f"{one.ratio('loadgen', 'bare'):.3f}",
            f"{one.ratio('bare again', 'bare'):.3f}",
            f"{one.difference_us('adapter', 'bare'):+.2f}",
            f"{one.difference_us('answer', 'adapter'):+.2f}",
            f"{one.difference_us('harness', 'answer'):+.2f}",
            f"{one.difference_us('loadgen', 'harness'):+.2f}",
            f"{one.ratio('rate', 'bare rate'):.3f}",
        ]
        for one in found
    ]
    heads = ["model", "bare p50 ms", "p50 ratio", "machine", "adapter µs", "answer µs"]
    heads += ["harness µs", "LoadGen µs", "Offline ratio"]
    missed = [text for one in found for text in one.missed]
    lines = [
        f"Machine: {readings.machine()}",
        "",
        table(heads, rows),
        "",
        "p50 ratio: LoadGen's p50 to the bare loop's; machine: the second bare loop to the first.",
        f"Goals: from {MODEL_MS} ms on, p50 within {P50_GOAL:.0%} and Offline at least"
        f" {RATE_GOAL}; below, adapter and harness at most {OWN_US_GOAL} µs.",
        *(f"MISSED: {text}" for text in missed),
    ]
    return "\n".join(lines)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="bench/models.py")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each block")
    found = measure(parser.parse_args())
    print(report(found))
    return 1 if any(one.missed for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
