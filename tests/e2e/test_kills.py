"""SIGKILL of the controller, of the agent and of both in the middle of the main job."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.support.processes import BIN, environment, overlaps, until

pytestmark = pytest.mark.e2e


def count(store: Path, table: str = "runs") -> int:
    """Rows of a store that may not be there yet."""
    if not store.exists():
        return 0
    with sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True) as connection:
        try:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def child(demo: subprocess.Popen[str], program: str) -> psutil.Process:
    for process in psutil.Process(demo.pid).children():
        # `agent start` has become the process that serves its home.
        names = {program, f"fleetmark_{program}.daemon.main"}
        if any(Path(part).name in names for part in process.cmdline()):
            return process
    raise AssertionError(f"no {program} runs")


def test_a_demo_whose_processes_are_killed_loses_nothing_and_finishes(tmp_path: Path) -> None:
    out = tmp_path / "fleetmark-demo"
    demo = subprocess.Popen(
        [str(BIN / "controller"), "demo"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        for runs, victims in ((2, ["agent"]), (5, ["controller"]), (8, ["agent", "controller"])):
            until(lambda n=runs: count(out / "results.db") >= n, f"{runs} runs")
            for victim in [child(demo, name) for name in victims]:
                victim.send_signal(signal.SIGKILL)
        output, _ = demo.communicate(timeout=200)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 0, output
    assert output.count("restarting it") == 4
    with sqlite3.connect(out / "results.db") as store:
        rows = store.execute("SELECT job_id, epoch, official FROM runs").fetchall()
        states = store.execute("SELECT DISTINCT state FROM jobs").fetchall()
        alarms = store.execute("SELECT kind FROM events WHERE kind LIKE 'alarm%'").fetchall()
    assert states == [("SUCCEEDED",)]
    assert len({job for job, *_ in rows}) == 16
    assert sum(official for *_, official in rows) == 16, "one official run for each job"
    assert alarms == []
    assert overlaps(out / "agent" / "trace.jsonl") == []


@pytest.mark.slow
def test_an_interrupted_demo_is_continued_by_the_next_one(tmp_path: Path) -> None:
    out = tmp_path / "fleetmark-demo"
    command = [str(BIN / "controller"), "demo"]
    demo = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: count(out / "results.db") >= 1, "a run")
        children = psutil.Process(demo.pid).children()
    finally:
        demo.kill()
        demo.wait()
    psutil.wait_procs(children, timeout=60)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Continuing campaign" in done.stdout
    with sqlite3.connect(out / "results.db") as store:
        assert store.execute("SELECT count(*) FROM campaigns").fetchone()[0] == 1
        assert store.execute("SELECT count(*) FROM runs WHERE official = 1").fetchone()[0] == 16


@pytest.mark.slow
def test_two_demos_at_once_keep_to_themselves(tmp_path: Path) -> None:
    """Both choose the same free port; one of them gets an error and takes another."""
    folders = [tmp_path / name for name in ("one", "two")]
    stores = [folder / "fleetmark-demo" / "results.db" for folder in folders]
    demos = []
    try:
        for folder in folders:
            folder.mkdir()
            demos.append(
                subprocess.Popen(
                    [str(BIN / "controller"), "demo"],
                    cwd=folder,
                    env=environment(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        until(lambda: all(count(store, "campaigns") for store in stores), "two campaigns")
        for store in stores:
            assert (count(store, "devices"), count(store, "campaigns")) == (1, 1)
    finally:
        for demo in demos:
            demo.send_signal(signal.SIGINT)
        for demo in demos:
            demo.wait(60)
