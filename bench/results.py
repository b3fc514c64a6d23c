"""Answers from many results beside their floors: so far, exports of samples.

The floors do the same with nothing of Fleetmark: pyarrow writes Parquet from arrays in memory, and
SQLite's shell writes CSV from a table. Ours begins with the blobs of the store. Each figure is the
median of several turns, in which ours and the floor alternate; memory is the largest of a child
process that does nothing else.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from markdown import table

from fleetmark_controller.evaluation.samples import decode, decode_parts, encode
from fleetmark_controller.export.samples import SampleSource
from fleetmark_controller.export.write import write_samples

RATE_GOAL = 0.8
MEMORY_GOAL_MIB = 200.0
_RUN_SAMPLES = 250_000
_GROUP_ROWS = 1 << 20


def made_runs(count: int) -> dict[str, bytes]:
    """Return blobs of `count` samples in runs; latencies as of a model that takes about 1 ms."""
    chance = np.random.default_rng(1)
    runs = {}
    for number in range(-(-count // _RUN_SAMPLES)):
        latencies = chance.normal(1e6, 2e4, min(_RUN_SAMPLES, count - number * _RUN_SAMPLES))
        runs[f"01a23200-0000-7000-8000-{number:012}"] = encode(latencies.astype(np.int64))
    return runs


def ours(runs: dict[str, bytes], form: str, out: Path) -> None:
    """Export the samples as `controller export --samples` does, without the connection."""
    write_samples(form, SampleSource(list(runs), lambda run: decode_parts(runs[run])), out)


def bare_parquet(arrays: dict[str, np.ndarray], out: Path) -> None:
    """Write the samples with pyarrow alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ["run_id", "sample_index", "latency_ns"]
    schema = pa.schema(zip(names, (pa.string(), pa.int64(), pa.int64()), strict=True))
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        for run, latencies in arrays.items():
            columns = [pa.repeat(run, len(latencies)), np.arange(len(latencies)), latencies]
            batch = pa.record_batch([pa.array(column) for column in columns], schema=schema)
            writer.write_batch(batch, row_group_size=_GROUP_ROWS)


def alternate(turns: int, first: Callable[[], None], other: Callable[[], None]) -> list[float]:
    """Return the median times of both in seconds, measured in turns."""
    times: list[list[float]] = [[], []]
    for turn in range(turns):
        for place in (0, 1) if turn % 2 else (1, 0):
            began = time.perf_counter()
            (first, other)[place]()
            times[place].append(time.perf_counter() - began)
    return [statistics.median(each) for each in times]


def shell_csv(store: Path, out: Path) -> None:
    """Write the samples with SQLite's shell."""
    with out.open("wb") as file:
        query = "SELECT run_id, sample_index, latency_ns FROM samples"
        subprocess.run(["sqlite3", "-csv", "-header", store, query], stdout=file, check=True)


_EXPORT = """
import sys
from pathlib import Path
from fleetmark_controller.evaluation.samples import decode_parts
from fleetmark_controller.export.samples import SampleSource
from fleetmark_controller.export.write import write_samples
blob, form, out = Path(sys.argv[1]).read_bytes(), sys.argv[2], Path(sys.argv[3])
write_samples(form, SampleSource(["run"], lambda run: decode_parts(blob)), out)
status = Path('/proc/self/status').read_text()
print(int(status.split('VmHWM:')[1].split()[0]) / 1024)
"""


def peak_mib(form: str, blob: bytes, folder: Path) -> float:
    """Return the largest memory in MiB of a process that exports one run."""
    (folder / "blob").write_bytes(blob)
    call = [sys.executable, "-c", _EXPORT, str(folder / "blob"), form, str(folder / "out")]
    return float(subprocess.run(call, check=True, capture_output=True, text=True).stdout)


def measured(count: int, turns: int, folder: Path) -> list[tuple[str, float, float, float, bool]]:
    """Return what, ours, floor, goal, and whether it was met; rates are ratios to the floor."""
    runs = made_runs(count)
    arrays = {run: decode(blob) for run, blob in runs.items()}
    rows = []

    def compare(what: str, form: str, floor: Callable[[], None]) -> None:
        own, bare = alternate(turns, lambda: ours(runs, form, folder / "ours"), floor)
        rows.append((f"{what}, s", own, bare, RATE_GOAL, bare / own >= RATE_GOAL))

    millions = f"{count / 1e6:g} million samples"
    compare(f"{millions} to Parquet", "parquet", lambda: bare_parquet(arrays, folder / "bare"))
    if shutil.which("sqlite3"):
        store = folder / "store.db"
        ours(runs, "sqlite", store)
        compare(f"{millions} to CSV", "csv", lambda: shell_csv(store, folder / "bare"))
    else:
        print("SQLite's shell is not installed: CSV has no floor")
    whole = encode(np.concatenate(list(arrays.values())))
    arrays.clear()
    for form in ("parquet", "csv"):
        peak = peak_mib(form, whole, folder)
        rows.append(
            (
                f"memory of one run to {form}, MiB",
                peak,
                0.0,
                MEMORY_GOAL_MIB,
                peak < MEMORY_GOAL_MIB,
            )
        )
    return rows


def main() -> int:
    """Print the table; return 1 if a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(given.samples, given.turns, Path(folder))
    lines = [
        [
            what,
            f"{own:.2f}",
            f"{floor:.2f}" if floor else "–",
            f"{floor / own:.2f}" if floor else "–",
            f"≥ {goal:g}" if floor else f"< {goal:g}",
            "yes" if met else "no",
        ]
        for what, own, floor, goal, met in rows
    ]
    print(table(["what", "ours", "floor", "floor/ours", "goal", "met"], lines))
    return 0 if all(row[-1] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
