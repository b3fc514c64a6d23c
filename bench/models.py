"""Measures what the harness adds to a model's own time, on each runtime: `make bench-models`.

For each runtime and model, blocks take turns in one process of a job's environment: a bare loop
around the runtime, the adapter, the adapter with the answer, LoadGen's SingleStream through the
harness, a bare loop over batches, and LoadGen's Offline. The goals hold for medians over the
rounds; the bare loop is measured twice per round, which shows the machine's own variation. A second
section has 20 random models (`models_random.py`).
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import models_random
import readings
from generated_model import write_cnn
from lab import Lab
from markdown import table
from models_random import RandomSubject
from models_subject import MODEL_MS, OWN_US_GOAL, P50_GOAL, RATE_GOAL, Subject

from fleetmark_catalog.load import BUILTIN

BENCH = Path(__file__).parent
RUNTIMES = {
    "onnxruntime": ["onnx"],
    "openvino": ["onnx", "openvino"],
    "opencv": ["onnx", "opencv"],
    "tflite": ["tflite"],
}
CNN = {"input": {"name": "input", "shape": [32, 28, 28]}}
IMAGE = {"input": {"name": "image", "shape": [28, 28, 1]}}
TEXT = {"input": {"name": "bytes", "shape": [128], "dtype": "int32", "range": [0, 256]}}


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

    def blocks(
        self,
        environment: tuple[str, Path, dict[str, Any]],
        model: Path,
        described: dict[str, Any],
        rounds: int,
        seconds: float,
    ) -> list[dict[str, float]]:
        """Run all blocks of one model in a process of an environment; return the rounds.

        Raises:
            RuntimeError: a block failed.
        """
        python, folder, runtime = environment
        out = self.lab.folder / "out"
        out.mkdir(exist_ok=True)
        spec = {
            "paths": [str(folder), str(BENCH.parent / "catalog")],
            "runtime": runtime,
            "model": str(model),
            "table": described,
            "rounds": rounds,
            "seconds": seconds,
            "out": str(out),
        }
        file = self.lab.folder / "spec.json"
        file.write_text(json.dumps(spec))
        program = [python, "-I", "-S", "-B", str(BENCH / "models_blocks.py"), str(file)]
        done = subprocess.run(program, cwd=out, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(
                f"{runtime.get('name')}, {model.name}: {done.stderr.strip()[-2000:]}"
            )
        found: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
        return found


def measure(options: argparse.Namespace) -> tuple[list[Subject], list[RandomSubject]]:
    """Run all blocks of all models on all runtimes."""
    found: list[Subject] = []
    drawn: list[RandomSubject] = []
    rounds = min(options.rounds, models_random.MOST_ROUNDS)
    seconds = min(options.seconds, models_random.MOST_SECONDS)
    with (
        tempfile.TemporaryDirectory(prefix="fleetmark-bench-") as scratch,
        Lab(Path(scratch)) as lab,
    ):
        bench = Bench(lab)
        for runtime, variations in RUNTIMES.items():
            if options.only_random and runtime not in models_random.COUNTS:
                continue
            environment = bench.environment(variations)
            if not options.only_random:
                for title, model, described in models_of(runtime, lab.folder):
                    made = bench.blocks(
                        environment, model, described, options.rounds, options.seconds
                    )
                    found.append(Subject(runtime, title, made))
            for title, model, described in models_random.random_models(runtime, lab.folder):
                made = bench.blocks(environment, model, described, rounds, seconds)
                drawn.append(RandomSubject(runtime, title, made))
    return found, drawn


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
    parser.add_argument("--only-random", action="store_true", help="only the random models")
    found, drawn = measure(parser.parse_args())
    if found:
        print(report(found), end="\n\n")
    print(models_random.report(drawn))
    return 1 if any(one.missed for one in (*found, *drawn)) else 0


if __name__ == "__main__":
    sys.exit(main())
