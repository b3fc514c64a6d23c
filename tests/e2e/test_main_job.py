"""The main job as a newcomer runs it: in a path with spaces, twice, with no writable home."""

from __future__ import annotations

import csv
import hashlib
import platform
import re
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.processes import BIN, environment, overlaps
from tests.support.published_accuracy import ACCURACY, tolerance
from tests.support.sample_output import sample_outputs, unmatched_lines

pytestmark = pytest.mark.e2e
COUNT = 16


def run_demo(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "controller"), "demo"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a path with spaces")


@pytest.fixture(scope="module")
def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    done = run_demo(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def out(demo: subprocess.CompletedProcess[str], folder: Path) -> Path:
    return folder / "fleetmark-demo"


def test_every_configuration_has_real_figures(out: Path) -> None:
    with sqlite3.connect(out / "results.db") as store:
        rows = store.execute(
            "SELECT precision, runtime, scenario, accuracy, metric_value FROM results"
        ).fetchall()
    assert len(rows) == COUNT // 2
    for precision, runtime, scenario, accuracy, value in rows:
        allowed = 0.002 + tolerance(precision, runtime)
        assert accuracy == pytest.approx(ACCURACY[precision], abs=allowed)
        assert value > (100 if scenario == "Offline" else 0.001)
    assert len({row[:3] for row in rows}) == len(rows)


def test_runs_are_valid_and_complete(out: Path) -> None:
    with sqlite3.connect(out / "results.db") as store:
        rows = store.execute(
            "SELECT mode, official, loadgen_validity, latency_p99_ms, accuracy, submittable,"
            " lockfile_sha256, loadgen_version FROM runs"
        ).fetchall()
    assert len(rows) == COUNT
    for mode, official, validity, p99, accuracy, submittable, lock, loadgen in rows:
        assert official
        assert not submittable, "the quick profile is never submittable"
        assert (validity, p99 is not None, accuracy is None) == (
            ("VALID", True, True) if mode == "performance" else (None, False, False)
        )
        assert len(lock) == 64
        assert loadgen


def test_the_memory_that_was_predicted_is_a_bound_and_not_far_above(out: Path) -> None:
    with sqlite3.connect(out / "results.db") as store:
        rows = store.execute(
            "SELECT label, memory_bytes, peak_memory_bytes FROM run"
            " JOIN job USING (job_id) JOIN job_option USING (option_set_id)"
        ).fetchall()
    assert len(rows) >= COUNT
    for label, predicted, measured in rows:
        assert measured <= predicted < 3 * measured, label


def test_raw_logs_are_in_the_store_byte_for_byte(out: Path) -> None:
    with sqlite3.connect(out / "results.db") as store:
        files = store.execute("SELECT run_id, name, sha256, size_bytes FROM run_file").fetchall()
    runs = {run for run, *_ in files}
    assert len(runs) == COUNT
    for run in runs:
        names = {name for found, name, *_ in files if found == run}
        assert {"mlperf_log_summary.txt", "mlperf_log_detail.txt"} <= names
    for _, name, sha256, size in files:
        data = (out / "blobs" / "sha256" / sha256[:2] / sha256).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256
        assert len(data) == size
        if name == "mlperf_log_detail.txt":
            assert data.startswith(b":::MLLOG")


def test_exports_hold_the_same_rows(out: Path) -> None:
    from pyarrow import parquet

    rows = list(csv.DictReader((out / "results.csv").open(newline="")))
    table = parquet.read_table(out / "results.parquet")
    assert len(rows) == table.num_rows == COUNT // 2
    assert list(rows[0]) == table.column_names


def test_the_report_is_one_self_contained_page_with_a_plot_per_configuration(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert page.count("<svg") >= COUNT // 2
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "<script" not in page


def test_nothing_ever_ran_twice_at_a_time(out: Path) -> None:
    assert overlaps(out / "agent" / "trace.jsonl") == []


@pytest.mark.slow
def test_it_works_twice_and_keeps_what_was_there(out: Path, folder: Path) -> None:
    done = run_demo(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fetching" not in done.stdout
    with sqlite3.connect(out / "results.db") as store:
        assert store.execute("SELECT count(*) FROM runs").fetchone()[0] == 2 * COUNT
        assert store.execute("SELECT count(*) FROM devices").fetchone()[0] == 1


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_next_commands_work_as_pasted(
    shell: str, demo: subprocess.CompletedProcess[str], folder: Path
) -> None:
    _, _, pasted = demo.stdout.partition("Next, paste these lines into a shell:\n")
    assert len(pasted.splitlines()) == 5
    # By what lies here, commands of the same user find a controller whose home is anywhere.
    own = {**environment(), "XDG_DATA_HOME": str(folder / "data")}
    done = subprocess.run(
        [shell, "-c", f"set -e\n{pasted}wait"],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode in (0, 143), done.stdout + done.stderr
    assert "4 succeeded" in done.stdout


def test_the_sample_in_the_readme_is_todays(demo: subprocess.CompletedProcess[str]) -> None:
    """Of a device that has another name and another system."""
    shown = sample_outputs((ROOT / "README.md").read_text())[0]
    shown = shown.replace("bench-01", platform.node())
    shown = "\n".join(line for line in shown.splitlines() if "Debian" not in line)
    assert unmatched_lines(shown, demo.stdout) == []
