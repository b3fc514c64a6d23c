"""`controller export --out -` writes the same bytes to standard output as to a file."""

from __future__ import annotations

import io
import os
import pty
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark
from tests.support.processes import BIN, Fleet, fleet_in

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with fleet_in(folder) as made:
        made.start_controller("--catalog", str(noop_benchmark.make_catalog(folder / "catalog")))
        made.start_agent("bench", "--label", "place=Lüfter → 漢")
        done = made.run("schedule", noop_benchmark.NAME, "--wait", "--param", f"marks={made.marks}")
        assert done.returncode == 0, done.stderr
        yield made


def export(
    fleet: Fleet, form: str, out: str, view: str = "jobs"
) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [str(BIN / "controller"), "export", "--format", form, "--view", view, "--out", out],
        # What is exported is UTF-8, whatever the terminal's encoding is.
        env={**fleet.environment(), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("view", ["jobs", "devices"])
def test_text_is_the_same_as_in_a_file(form: str, view: str, fleet: Fleet, tmp_path: Path) -> None:
    export(fleet, form, str(tmp_path / "file"), view)
    done = export(fleet, form, "-", view)
    assert done.stdout == (tmp_path / "file").read_bytes()
    assert len(done.stdout.splitlines()) == (2 if form == "csv" else 1)
    assert b"to standard output" in done.stderr
    if view == "devices":
        assert "Lüfter → 漢" in done.stdout.decode()


def test_binary_formats_are_whole(fleet: Fleet, tmp_path: Path) -> None:
    from pyarrow import parquet

    table = parquet.read_table(io.BytesIO(export(fleet, "parquet", "-").stdout))
    assert table.num_rows == 1
    (tmp_path / "file.db").write_bytes(export(fleet, "sqlite", "-").stdout)
    with sqlite3.connect(tmp_path / "file.db") as store:
        assert store.execute("SELECT count(*) FROM jobs").fetchone() == (1,)
    assert export(fleet, "html", "-").stdout.startswith(b"<!")


def test_a_file_of_this_name_is_not_written(fleet: Fleet, tmp_path: Path) -> None:
    controller = shlex.quote(str(BIN / "controller"))
    command = f"{controller} export --format csv --view jobs --out - | head -c 5"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=tmp_path,
        env=fleet.environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout) == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["parquet", "sqlite"])
def test_binary_formats_do_not_go_to_a_terminal(form: str, fleet: Fleet) -> None:
    own, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [str(BIN / "controller"), "export", "--format", form, "--out", "-"],
            env=fleet.environment(),
            stdout=theirs,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(own)
        os.close(theirs)
    assert done.returncode == 2
    assert b"is binary; redirect standard output to a file" in done.stderr


def test_a_submission_is_a_folder(fleet: Fleet) -> None:
    words = ("--round", "v6.1", "--division", "open", "--submitter", "x", "--out", "-")
    done = fleet.run("export", "--format", "mlperf", *words)
    assert (done.returncode, "writes a folder" in done.stderr) == (2, True)
