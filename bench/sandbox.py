"""Measures what the sandbox costs a job: `make bench-sandbox`.

A model of about 1 ms (dense layers in NumPy on one thread) runs in blocks under the real
supervisor: N, without a sandbox; S, in the strongest sandbox of this device; and N again, which
shows the variation of the machine itself. The blocks alternate, so that changes over time affect
all of them. The output is the ratios of the percentiles: the median of the rounds with its
quartiles. The goal is less than 1 % of p50 above the variation of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from markdown import table

from fleetmark_agent.runner import supervisor
from fleetmark_agent.state.file_locks import try_lock
from fleetmark_core.sandbox.mounts import python_paths, system_paths
from fleetmark_core.sandbox.plan import (
    JobLimits,
    SandboxCapabilities,
    SandboxRequest,
    base_python,
    launch,
)
from fleetmark_core.sandbox.prove import means_of, prove

JOB = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
rng = np.random.default_rng(1)
layers = [rng.normal(0, 0.06, (256, 256)).astype(np.float32) for _ in range(int(sys.argv[2]))]
sample = rng.normal(0, 1, (64, 256)).astype(np.float32)
def run():
    values = sample
    for layer in layers:
        values = np.maximum(values @ layer, 0)
    return values
taken, end = [], time.monotonic() + float(sys.argv[3])
for _ in range(50):
    run()
while time.monotonic() < end:
    start = time.perf_counter_ns()
    run()
    taken.append(time.perf_counter_ns() - start)
p50, p99 = np.percentile(taken, [50, 99]) / 1e6
json.dump({"p50": p50, "p99": p99}, open("figures.json", "w"))
"""
_CALIBRATION_LAYERS = 10


def block(
    folder: Path, means: SandboxCapabilities, layers: int, seconds: float
) -> dict[str, float]:
    """Run the model once under a supervisor; return its percentiles in ms."""
    work = Path(tempfile.mkdtemp(dir=folder))
    for name in ("out", "tmp", "shm"):
        (work / name).mkdir()
        if means.user is not None:
            os.chown(work / name, means.user, means.user)
            (work / name).chmod(0o711)
    work.chmod(0o755)
    site, python = sysconfig.get_paths()["platlib"], base_python()
    needs = SandboxRequest(
        command=(python, "-I", "-S", "-B", "-c", JOB, site, str(layers), str(seconds)),
        environment={"PATH": "/usr/bin:/bin", "OPENBLAS_NUM_THREADS": "1"},
        folder=str(work / "out"),
        scratch=str(work / "tmp"),
        shared=str(work / "shm"),
        read=(*system_paths(False, [folder]), *python_paths(python, [folder]), site),
        write=(str(work / "out"), str(work / "tmp")),
    )
    path = work / "sandbox.json"
    made = launch(needs, JobLimits(processes=4000), means, spec_path=str(path), mark={})
    path.write_text(json.dumps(made.spec))
    path.chmod(0o644)
    lock, alive = try_lock(work / "lock"), try_lock(work / "alive")
    assert lock is not None and alive is not None
    # The job is watched as an agent's jobs are, except in the block without a sandbox.
    watched = {"memory_bytes": 1 << 40, "processes": 4000, "scratch_bytes": 1 << 34}
    spec: dict[str, Any] = {
        "command": made.command,
        "environment": made.environment,
        "monitored": made.monitored,
        "limits": watched if made.spec else {},
        "scratch": [str(work / "out"), str(work / "tmp")],
        "folder": str(work / "out"),
        "max_output_bytes": 10_000,
        "timeout_s": seconds + 120,
        "grace_s": 1,
        "attempt": {"job_id": "bench", "epoch": 1},
        "trace": str(work / "trace"),
        "nice": 0,
        "lock_fd": lock,
        "alive_fd": alive,
    }
    spec.update({n: str(work / n) for n in ("stdout", "stderr", "started", "progress", "outcome")})
    (work / "spec.json").write_text(json.dumps(spec))
    words = supervisor.command(str(work / "spec.json"))
    subprocess.run(words, pass_fds=(lock, alive), check=True, stdout=subprocess.DEVNULL, env={})
    os.close(lock)
    os.close(alive)
    try:
        figures: dict[str, float] = json.loads((work / "out" / "figures.json").read_text())
    except FileNotFoundError:
        sys.exit(f"the job failed: {(work / 'stderr').read_text()[-1000:]}")
    return figures


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=4.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleetmark-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        proven = prove(folder)
        first = block(folder, SandboxCapabilities(), _CALIBRATION_LAYERS, 1)
        layers = max(1, round(_CALIBRATION_LAYERS / first["p50"]))
        rounds = []
        for _ in range(asked.rounds):
            kinds = (
                ("N", SandboxCapabilities()),
                ("S", means_of(proven)),
                ("N'", SandboxCapabilities()),
            )
            rounds.append({k: block(folder, m, layers, asked.seconds) for k, m in kinds})
    rows = []
    for title, over in ((f"{proven.level} over none", "S"), ("none over none (A/A)", "N'")):
        cells = [title]
        for figure in ("p50", "p99"):
            ratios = sorted(r[over][figure] / r["N"][figure] - 1 for r in rounds)
            low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
            cells.append(f"{statistics.median(ratios):+.2%} ({low:+.2%} to {high:+.2%})")
        rows.append(cells)
    p50 = statistics.median(r["N"]["p50"] for r in rounds)
    print(f"{asked.rounds} rounds of {asked.seconds:g} s; p50 without a sandbox {p50:.3f} ms\n")
    print(table(["", "p50", "p99"], rows))


if __name__ == "__main__":
    main()
