"""What a user can do wrong: one clear line each, and the designed exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetmark_catalog import load
from fleetmark_protos.token import EnrollmentToken
from tests.support.processes import BIN, Fleet, environment, fleet_in, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("fleet")) as fleet:
        fleet.start_controller("--catalog", str(broken_catalog(fleet.folder / "catalog")))
        fleet.start_agent("device", "--label", "site=lab1")
        yield fleet


def broken_catalog(folder: Path) -> Path:
    """A benchmark whose model was changed after its digest was written down."""
    builtin = Path(load.__file__).parent.parent / "components"
    model = folder / "model" / "changed"
    shutil.copytree(builtin / "model" / "fashion-mnist-dscnn", model)
    _rename(model, "fashion-mnist-dscnn", "changed")
    with (model / "dscnn_fp32.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\0\1\2\3")
    benchmark = folder / "benchmark" / "with-changed-model"
    shutil.copytree(builtin / "benchmark" / "fashion-mnist", benchmark)
    _rename(benchmark, '"fashion-mnist"', '"with-changed-model"')
    _rename(benchmark, "model/fashion-mnist-dscnn", "model/changed")
    return folder


def _rename(component: Path, old: str, new: str) -> None:
    path = component / "component.toml"
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ["schedule", "fashion-mnis"],
            3,
            ["'fashion-mnis'", "Did you mean benchmark 'fashion-mnist'"],
        ),
        (["schedule", "fashion-mnist", "--fleet", "!x86_64"], 3, ["device", "!x86_64"]),
        (["schedule", "fashion-mnist", "--scenario", "SingelStream"], 2, ["SingleStream"]),
        (["schedule", "fashion-mnist", "--param", "threads=0"], 2, ["threads", "1"]),
        (["schedule", "fashion-mnist", "--param", "treads=1"], 2, ["treads", "threads"]),
        (["schedule", "fashion-mnist", "--param", "threads"], 2, ["KEY=VALUE"]),
        (["schedule", "fashion-mnist", "--variation", "int7"], 2, ["int7", "int8"]),
        (["schedule", "fashion-mnist", "--profile", "fast"], 2, ["fast", "quick"]),
        (["schedule", "with-changed-model"], 4, ["dscnn_fp32.onnx", "sha256", "bedaf96d"]),
        (["jobs", "show", "0000"], 3, ["no job '0000'", "jobs list"]),
        (["campaign", "show", "0000"], 3, ["no campaign '0000'", "campaign list"]),
        (["campaign", "watch", "0000"], 3, ["no campaign"]),
        (["results", "show", "0000"], 3, ["no run"]),
        (["results", "list", "--since", "yesterday"], 2, ["yesterday", "ISO 8601"]),
        (["export", "--format", "csv", "--out", "/dev/null/a.csv"], 2, ["/dev/null"]),
        (["export", "--format", "csv", "--out", "a.csv", "--view", "rans"], 2, ["rans", "runs"]),
        (["export", "--format", "pdf", "--out", "a.pdf"], 2, ["pdf", "parquet"]),
        (["shedule", "fashion-mnist"], 2, ["Did you mean 'schedule'?"]),
        (["fleet", "list", "--controller", "127.0.0.1:1"], 5, ["127.0.0.1:1", "controller serve"]),
        (["fleet", "list", "--controller", "nowhere"], 2, ["HOST:PORT"]),
        (["serve", "--listen", "here"], 2, ["HOST:PORT"]),
    ],
)
def test_one_clear_line_and_the_designed_exit_code(
    fleet: Fleet, arguments: list[str], code: int, words: list[str]
) -> None:
    done = fleet.run(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    # What was ready to be submitted has its campaign's id first: an answer may be lost.
    if lines[0].startswith("Campaign "):
        assert arguments[0] == "schedule"
        del lines[0]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("controller: ")
    for word in words:
        assert word in done.stderr


def test_a_selector_that_cannot_be_read_is_shown_with_the_place(fleet: Fleet) -> None:
    done = fleet.run("schedule", "fashion-mnist", "--fleet", "name=(")
    assert done.returncode == 2
    first, text, caret, *_ = done.stderr.splitlines()
    assert first.startswith("controller: ")
    assert text.index("(") == caret.index("^")


def test_an_unknown_word_is_shown_with_the_place_and_the_nearest(fleet: Fleet) -> None:
    done = fleet.run("schedule", "fashion-mnist", "--fleet", "linux,x86_65")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "controller: no device has 'x86_65' (did you mean 'x86_64'?)",
        "  linux,x86_65",
        "        ^^^^^^",
    ]


def test_a_refused_request_leaves_nothing_behind(fleet: Fleet) -> None:
    before = fleet.query("SELECT count(*) FROM campaigns")
    assert fleet.run("schedule", "with-changed-model").returncode == 4
    assert fleet.query("SELECT count(*) FROM campaigns") == before


def test_a_dry_run_says_what_would_run_and_who_is_left_out(fleet: Fleet) -> None:
    done = fleet.run("schedule", "default", "--fleet", "site=lab1", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert len(plan["jobs"]) == 16
    assert {job["device"] for job in plan["jobs"]} == {"device"}
    assert all(job["bundle_bytes"] > 1_000_000 for job in plan["jobs"])
    assert fleet.query("SELECT count(*) FROM campaigns") == [(0,)]


def test_a_second_controller_and_a_second_agent_on_a_home_are_refused(fleet: Fleet) -> None:
    done = fleet.run("serve", "--home", str(fleet.home), "--listen", "127.0.0.1:1")
    assert done.returncode == 4
    assert "another controller" in done.stderr
    again = subprocess.run(
        [str(BIN / "agent"), "start", "--home", str(fleet.folder / "device")],
        env=fleet.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert again.returncode == 4
    assert len(again.stderr.strip().splitlines()) == 1


def test_an_agent_without_a_controller_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(str(BIN / "agent"), "start", "--once", "--home", str(tmp_path)),
            *("--controller", "127.0.0.1:1"),
        ],
        env={
            **environment(),
            "FLEETMARK_TOKEN": EnrollmentToken("00" * 8, bytes(20), "00" * 32, "", 1).text(),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 5, done.stderr
    assert "127.0.0.1:1" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_on_the_agent_is_named_with_both_figures(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m", "tmpfs", str(small)], check=True)
    try:
        with fleet_in(tmp_path) as fleet:
            fleet.start_controller()
            fleet.start_agent("cramped", home=small / "home")
            # Full after the device has said how much is free: the agent itself finds out.
            with (small / "filler").open("wb") as filler:
                os.posix_fallocate(filler.fileno(), 0, 300 * 1024 * 1024)
            schedule = (
                *("schedule", "fashion-mnist", "--scenario", "SingleStream"),
                *("--mode", "accuracy", "--wait"),
            )
            done = fleet.run(*schedule)
            assert done.returncode == 1, done.stderr
            (line,) = [text for text in done.stdout.splitlines() if "failed:" in text]
            assert re.search(r"needs [\d.]+ MB of disk, [\d.]+ MB available", line), line
            # Known beforehand: nothing is sent, and nothing fits.
            fleet.kill("cramped", signal.SIGTERM)
            fleet.start_agent("cramped", home=small / "home")
            done = fleet.run(*schedule)
            assert done.returncode == 3, done.stderr
            assert re.search(r"needs [\d.]+ MB of disk, [\d.]+ MB available", done.stderr)
            assert fleet.presence("cramped") == "online"
        with (small / "filler").open("wb") as filler, pytest.raises(OSError, match="No space"):
            while True:
                filler.write(b"\0" * 65536)
        done = subprocess.run(
            [str(BIN / "agent"), "start", "--home", str(small / "other")],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 4, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_backing_up_while_running_makes_a_home(fleet: Fleet, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    done = fleet.run("backup", "--home", str(fleet.home), "--out", str(copy))
    assert done.returncode == 0, done.stderr
    again = fleet.run("backup", "--home", str(fleet.home), "--out", str(copy))
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    with fleet_in(tmp_path / "second") as second:
        shutil.rmtree(second.home)
        shutil.copytree(copy, second.home)
        second.start_controller()
        until(lambda: second.presence("device") == "offline", "the device's row")
