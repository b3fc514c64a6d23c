"""Measures how much Fleetmark's jobs distort a measurement: `make bench-fidelity`.

For models of about 0.1, 1 and 10 ms, blocks of three kinds alternate: A, a bare loop around the
runtime; B, the shortest LoadGen SUT; C, a Fleetmark job through a real controller and agent, with
telemetry; and A again, which shows the variation of the machine itself. All use the same
interpreter, wheels and model. The output is the ratios of percentiles, with bootstrap intervals
over the rounds.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import readings
from generated_model import write_cnn
from lab import Lab
from markdown import table

from fleetmark_catalog.load import BUILTIN

QUANTILES = ("p50", "p90", "p99")
FOREIGN_LIMIT = 0.1
"""A block is marked if other programs use more than this share of one core."""
RESAMPLES = 4000
FEWEST_CLEAN = 3
CATALOG_MODEL = "fashion-mnist"
JOB = ["--scenario", "SingleStream", "--mode", "performance"]
BENCH = Path(__file__).parent
RATIOS = (("B", "A"), ("C", "B"), ("C", "A"), ("A'", "A"))


@dataclass(frozen=True)
class Block:
    """One measured block: percentiles in ms, and the share of a core that other programs used."""

    kind: str
    figures: dict[str, float]
    foreign: float


@dataclass
class Subject:
    """One model, as it is used in all three kinds of blocks."""

    title: str
    benchmark: str
    variations: list[str]
    model: Path
    samples: int
    rounds: list[dict[str, Block]] = field(default_factory=list)


class Bench:
    """A lab with one agent, and the environment that the first job left there."""

    def __init__(self, lab: Lab, seconds: float) -> None:
        """Start controller and agent; the first job creates the environment that all blocks use."""
        self.lab, self.seconds = lab, seconds
        lab.start_controller()
        # Software detection is not part of this measurement.
        lab.start_agent("bench", "detect_interval_s = 0\n")
        first = Subject("", CATALOG_MODEL, ["fp32", "onnx"], Path(), 0)
        self.job(first, 0.2)
        with sqlite3.connect(lab.folder / "controller" / "results.db") as store:
            ((text,),) = store.execute("SELECT provenance FROM run LIMIT 1").fetchall()
        provenance = json.loads(text)
        self.python: str = provenance["interpreter"]["path"]
        environment = lab.folder / "bench" / "cache" / "envs" / provenance["environment_key"]
        self.paths = [str(environment)]

    def job(self, subject: Subject, seconds: float) -> dict[str, float]:
        """Run block C: return LoadGen's percentiles of one job, in ms."""
        words = [subject.benchmark, "--fleet", "name=bench", *JOB]
        for variation in subject.variations:
            words += ["--variation", variation]
        output = json.loads(
            self.lab.controller(
                "schedule", *words, "--param", f"min_duration_s={seconds}", "--json"
            )
        )
        campaign = output["campaign_id"]
        # A short block of a slow model may have too few queries for a VALID result.
        output = self.lab.controller("campaign", "watch", campaign, may_end_with=(0, 1))
        runs = json.loads(
            self.lab.controller("results", "list", "--runs", "--campaign", campaign, "--json")
        )
        if len(runs) != 1:
            raise RuntimeError(f"the job left no run: {output.strip().splitlines()[-1]}")
        return {name: float(runs[0][f"latency_{name}_ms"]) for name in QUANTILES}

    def bare(self, kind: str, subject: Subject, seconds: float) -> dict[str, float]:
        """Run block A or B: return the percentiles in ms."""
        with tempfile.TemporaryDirectory(dir=self.lab.folder) as out:
            values = {
                "paths": self.paths,
                "model": str(subject.model),
                "samples": subject.samples,
                "seconds": seconds,
                "out": out,
            }
            spec = Path(out) / "spec.json"
            spec.write_text(json.dumps(values))
            program = [self.python, "-I", "-S", "-B", str(BENCH / "baseline_job.py")]
            done = subprocess.run(
                [*program, kind, str(spec)], cwd=out, capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise RuntimeError(f"the bare {kind} failed: {done.stderr.strip()}")
        return {name: value / 1e6 for name, value in json.loads(done.stdout).items()}

    def block(self, kind: str, subject: Subject) -> Block:
        """Run one block, and measure what other programs used in the meantime."""
        busy, own, began = readings.machine_busy_s(), readings.own_busy_s(), time.monotonic()
        if kind == "C":
            figures = self.job(subject, self.seconds)
        else:
            figures = self.bare("loadgen" if kind == "B" else "loop", subject, self.seconds)
        foreign_s = readings.machine_busy_s() - busy - (readings.own_busy_s() - own)
        return Block(kind, figures, max(0.0, foreign_s / (time.monotonic() - began)))


def subjects(bench: Bench) -> list[Subject]:
    """Return the catalog's small model, and generated ones of about 1 and 10 ms on this machine."""
    shipped = BUILTIN / "model" / "fashion-mnist-dscnn" / "dscnn_fp32.onnx"
    found = [Subject("DS-CNN (0.1 ms)", CATALOG_MODEL, ["fp32", "onnx"], shipped, 1000)]
    probe = bench.lab.folder / "probe.onnx"
    write_cnn(probe, 4)
    taken = bench.bare("loop", Subject("", "", [], probe, 64), 0.3)
    for target_ms in (1.0, 10.0):
        layers = max(1, round(4 * target_ms / taken["p50"]))
        name = f"cnn-{layers}-layers"
        path = bench.lab.folder / f"{name}.onnx"
        write_cnn(path, layers)
        bench.lab.controller("catalog", "import", str(path), "--name", name, "--license", "MIT")
        found.append(Subject(f"CNN, {layers} layers ({target_ms:g} ms)", name, [], path, 64))
    return found


def measure(options: argparse.Namespace) -> tuple[list[Subject], float]:
    """Run all rounds of all models.

    In every second round the order of B and C is swapped.

    Returns:
        The measured models, and the agent's memory after all jobs in MiB.
    """
    with (
        tempfile.TemporaryDirectory(prefix="fleetmark-bench-") as scratch,
        Lab(Path(scratch)) as lab,
    ):
        bench = Bench(lab, options.seconds)
        found = subjects(bench)
        for subject in found:
            for number in range(options.rounds):
                kinds = ["A", "B", "C", "A'"] if number % 2 == 0 else ["A", "C", "B", "A'"]
                blocks = {kind: bench.block(kind, subject) for kind in kinds}
                subject.rounds.append(blocks)
                if options.verbose:
                    print(_round_line(subject, number, blocks), file=sys.stderr, flush=True)
        agent_mib = readings.memory_kib(lab.children["bench"].pid)["rss"] / 1024
        return found, agent_mib


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Return the median of the rounds' ratios, and its 95 % bootstrap interval over the rounds."""
    values = np.array(ratios)
    random = np.random.default_rng(1)
    drawn = values[random.integers(0, len(values), (RESAMPLES, len(values)))]
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return float(np.median(values)), float(low), float(high)


def report(found: list[Subject], agent_mib: float) -> str:
    """Return the report as Markdown."""
    rows, marks = [], []
    for subject in found:
        clean = [r for r in subject.rounds if all(b.foreign <= FOREIGN_LIMIT for b in r.values())]
        chosen = clean if len(clean) >= FEWEST_CLEAN else subject.rounds
        marked = [b for r in subject.rounds for b in r.values() if b.foreign > FOREIGN_LIMIT]
        total = sum(len(r) for r in subject.rounds)
        which = (
            f"figures are of the {len(chosen)} rounds without"
            if chosen is clean
            else "too few rounds are without: figures are of all, and rough (*)"
        )
        marks.append(f"- {subject.title}: {len(marked)} of {total} blocks marked; {which}.")
        star = "" if chosen is clean else "*"
        for quantile in QUANTILES:
            bare_ms = statistics.median(r["A"].figures[quantile] for r in chosen)
            cells = [f"{subject.title} {quantile}{star}", f"{bare_ms:.4f}"]
            for over, under in RATIOS:
                middle, low, high = interval(
                    [r[over].figures[quantile] / r[under].figures[quantile] for r in chosen]
                )
                cells.append(f"{middle:.3f} [{low:.3f}, {high:.3f}]")
            more_us = statistics.median(
                1000 * (r["C"].figures[quantile] - r["B"].figures[quantile]) for r in chosen
            )
            rows.append([*cells, f"{more_us:+.1f}"])
    heads = ["model", "A ms", *(f"{over}/{under} [95 %]" for over, under in RATIOS), "C−B µs"]
    lines = [
        f"Machine: {readings.machine()}",
        "",
        table(heads, rows),
        "",
        "A: bare loop. B: bare LoadGen. C: our job, telemetry on. A'/A: the machine by itself.",
        f"Marked are blocks in which other programs took over {FOREIGN_LIMIT:.0%} of a core:",
        *marks,
        f"The agent after all these jobs: {agent_mib:.1f} MiB resident.",
    ]
    return "\n".join(lines)


def _round_line(subject: Subject, number: int, blocks: dict[str, Block]) -> str:
    parts = [
        f"{kind} {block.figures['p50']:.4f} {block.figures['p99']:.4f}"
        f"{' foreign ' + format(block.foreign, '.0%') if block.foreign > FOREIGN_LIMIT else ''}"
        for kind, block in blocks.items()
    ]
    return f"{subject.title}, round {number + 1}: {'; '.join(parts)}"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="bench/fidelity.py")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each block")
    parser.add_argument("--verbose", action="store_true", help="tell each round on stderr")
    print(report(*measure(parser.parse_args())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
