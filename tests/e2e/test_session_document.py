"""docs/tutorial/a-session.md, run to the letter by a shell, and what must have come of it."""

from __future__ import annotations

import csv
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.processes import BIN, environment, free_port, overlaps
from tests.support.sample_output import sample_outputs, unmatched_lines

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("session")]
DOCUMENT = ROOT / "docs" / "tutorial" / "a-session.md"


def script() -> str:
    """The document's commands, each announced before it runs."""
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return "set -ev\n" + "".join(blocks)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("session")
    home = folder / "controller"
    home.mkdir()
    address = f"127.0.0.1:{free_port()}"
    (home / "config.toml").write_text(
        f'listen = "{address}"\nheartbeat_idle_s = 0.5\nheartbeat_running_s = 0.5\nlease_s = 3.0\n'
    )
    where = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLEETMARK_CONTROLLER": address,
        "FLEETMARK_CONTROLLER_HOME": str(home),
    }
    try:
        done = subprocess.run(
            ["bash", "-c", script()],
            cwd=folder,
            env={**environment(), **where},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=280,
        )
        if target := os.environ.get("SESSION_OUTPUT"):
            Path(target).write_text(done.stdout)
        assert done.returncode == 0, done.stdout
        yield folder, done.stdout
    finally:
        for file in folder.glob("*.pid"):
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(file.read_text()), signal.SIGKILL)


def query(folder: Path, sql: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(folder / "controller" / "results.db") as store:
        return store.execute(sql).fetchall()


def test_the_grid_came_out_whole(session: tuple[Path, str]) -> None:
    folder, _ = session
    rows = query(
        folder,
        "SELECT device, json_extract(parameters, '$.threads'), count(*) FROM runs"
        " WHERE official AND scenario = 'SingleStream' GROUP BY 1, 2 ORDER BY 1, 2",
    )
    assert rows == [(f"bench-{b}", threads, 2) for b in (1, 2, 3) for threads in (1, 2)]


def test_the_two_settings_alternated_on_every_device(session: tuple[Path, str]) -> None:
    folder, _ = session
    rows = query(
        folder,
        "SELECT device, json_extract(parameters, '$.threads') FROM runs"
        " WHERE official AND scenario = 'SingleStream' ORDER BY device, epoch",
    )
    for number in (1, 2, 3):
        assert [threads for name, threads in rows if name == f"bench-{number}"] == [1, 2, 1, 2]


def test_a_killed_and_a_drained_device_lost_and_doubled_nothing(session: tuple[Path, str]) -> None:
    folder, output = session
    assert "bench-3 is drained (new fan)" in output
    events = {row[0] for row in query(folder, "SELECT DISTINCT kind FROM events")}
    assert {"device.drained", "device.resumed", "campaign.paused", "job.retried"} <= events
    for number in (1, 2, 3):
        trace = folder / f"bench-{number}" / "trace.jsonl"
        assert not trace.exists() or overlaps(trace) == []
    assert query(folder, "SELECT count(*) FROM jobs WHERE state = 'FAILED'") == [(0,)]


def test_what_was_cancelled_ran_in_the_end_once(session: tuple[Path, str]) -> None:
    folder, output = session
    assert "jobs again" in output
    rows = query(
        folder,
        "SELECT state, retried_as NOT NULL, count(*) FROM jobs JOIN campaigns USING (campaign_id)"
        " WHERE selector = 'site=lab1' GROUP BY 1, 2 ORDER BY 1",
    )
    assert dict((row[0], row[2]) for row in rows)["SUCCEEDED"] == 2
    rows = query(
        folder,
        "SELECT json_extract(parameters, '$.threads') FROM runs"
        " WHERE official AND scenario = 'Offline'",
    )
    assert sorted(rows) == [(1,), (2,)]


def test_the_exports_hold_the_rows(session: tuple[Path, str]) -> None:
    folder, _ = session
    with (folder / "runs.csv").open(newline="") as file:
        official = [row for row in csv.DictReader(file) if row["official"] in ("true", "1", "True")]
    assert len(official) == 14
    assert "<svg" in (folder / "report.html").read_text()


def test_the_samples_are_what_is_printed_today(session: tuple[Path, str]) -> None:
    _, output = session
    for sample in sample_outputs(DOCUMENT.read_text()):
        assert unmatched_lines(sample, output) == []
