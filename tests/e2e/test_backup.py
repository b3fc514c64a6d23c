"""A backup holds all that a controller needs, and is restored on a machine with nothing else."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sqlite3
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetmark_catalog.load import BUILTIN
from tests.support.noop_benchmark import make_catalog
from tests.support.processes import Fleet, fleet_in, until

pytestmark = pytest.mark.e2e
MODEL = BUILTIN / "model" / "fashion-mnist-dscnn" / "dscnn_int8.onnx"
COMPONENT = """
kind = "model"
name = "{name}"
version = "1.0"
title = "{name}"
license = "MIT"
[model]
task = "image-classification"
input = {{ shape = [28, 28, 1] }}
output = {{ classes = 10 }}
"""
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-C")


def run(fleet: Fleet, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = fleet.run(*arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def components(fleet: Fleet) -> set[str]:
    rows = json.loads(run(fleet, "catalog", "list", "--json").stdout)
    return {f"{row['kind']}/{row['name']}" for row in rows}


def write_model(folder: Path, name: str) -> Path:
    component = folder / "model" / name
    component.mkdir(parents=True)
    (component / "component.toml").write_text(COMPONENT.format(name=name))
    (component / "NOTES.txt").write_text(f"of {name}")
    return folder


def commit_all(folder: Path) -> str:
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "all")):
        subprocess.run([*GIT, str(folder), *words], check=True)
    found = subprocess.run(
        [*GIT, str(folder), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    return found.stdout.strip()


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A fleet with catalogs of every kind, a run of an imported model, and a backup of it."""
    with fleet_in(tmp_path_factory.mktemp("backup")) as fleet:
        elsewhere = fleet.folder / "elsewhere"
        configured = make_catalog(elsewhere / "configured", dataset_bytes=4096)
        config = fleet.home / "config.toml"
        config.write_text(config.read_text() + f"catalogs = [{json.dumps(str(configured))}]\n")
        fleet.start_controller()
        fleet.start_agent("bench-01")
        run(fleet, "catalog", "add", str(write_model(elsewhere / "added", "added-model")))
        (elsewhere / "added" / "thesis.txt").write_text("not part of a catalog")
        repository = write_model(elsewhere / "repository", "committed-model")
        commit = commit_all(repository)
        run(fleet, "catalog", "add", str(repository), "--commit", commit)
        shutil.copyfile(MODEL, elsewhere / "mine.onnx")
        run(fleet, "catalog", "import", str(elsewhere / "mine.onnx"))
        run(fleet, "schedule", "mine", "--wait")
        copy = fleet.folder / "copy"
        done = run(fleet, "backup", "--home", str(fleet.home), "--out", str(copy))
        assert str(configured) in done.stdout
        assert str(elsewhere / "added") in done.stdout
        yield fleet


def restored(lost: Fleet, folder: Path) -> Fleet:
    """A home that was restored from the backup; its controller does not run yet."""
    second = Fleet(folder)
    shutil.rmtree(second.home)
    run(second, "restore", str(lost.folder / "copy"), "--home", str(second.home))
    return second


def test_a_restored_controller_runs_what_was_imported_and_added(
    lost: Fleet, tmp_path: Path
) -> None:
    fleet = restored(lost, tmp_path / "second")
    # The machine with the folders and the original home is gone.
    lost.kill("bench-01")
    lost.kill("controller", signal.SIGTERM)
    (lost.folder / "elsewhere").rename(lost.folder / "gone")
    lost.home.rename(lost.folder / "lost home")
    try:
        assert stat.S_IMODE(fleet.home.stat().st_mode) == 0o700
        assert stat.S_IMODE((fleet.home / "identity" / "ca.pem").stat().st_mode) == 0o600
        fleet.start_controller()
        known = components(fleet)
        assert known >= {
            "model/mine",
            "benchmark/mine",
            "model/added-model",
            "model/committed-model",
            "benchmark/toy",
        }
        assert "copy of catalog used" in [line.event for line in fleet.logged("controller")]
        before = json.loads(run(fleet, "results", "list", "--runs", "--json").stdout)
        assert {row["benchmark"] for row in before} == {"mine"}
        fleet.start_agent("bench-02")
        run(fleet, "schedule", "mine", "--fleet", "name=bench-02", "--wait")
        marks = f"marks={fleet.marks}"
        run(fleet, "schedule", "toy", "--fleet", "name=bench-02", "--param", marks, "--wait")
        # A device of the lost controller goes on with its identity.
        lost.address = fleet.address
        (lost.folder / "lost home").rename(lost.home)
        lost._start(
            *("agent", "start", "--home", str(lost.folder / "bench-01")),
            *("--controller", fleet.address, "--name", "bench-01"),
            called="bench-01",
        )
        until(lambda: fleet.presence("bench-01") == "online", "the device of before")
        # A backup of a restored home is as complete.
        run(fleet, "backup", "--home", str(fleet.home), "--out", str(tmp_path / "again"))
        third = Fleet(tmp_path / "third")
        shutil.rmtree(third.home)
        run(third, "restore", str(tmp_path / "again"), "--home", str(third.home))
        assert tree(third.home / "catalogs") == tree(fleet.home / "catalogs") != {}
    finally:
        fleet.stop()
        (lost.folder / "gone").rename(lost.folder / "elsewhere")


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_backup_holds_the_components_of_a_folder_and_nothing_else_of_it(lost: Fleet) -> None:
    names = {path.name for path in (lost.folder / "copy" / "catalogs").rglob("*")}
    assert {"NOTES.txt", "component.toml", "data.bin", "main.py"} <= names
    assert "thesis.txt" not in names
    assert not (lost.folder / "copy" / "generation").exists()


def _change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _manifest(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def edit(backup: Path) -> None:
        path = backup / "backup.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return edit


def _file(values: dict[str, object], name: str) -> None:
    files = values["files"]
    assert isinstance(files, dict)
    files[name] = files.pop("results.db")


FAULTS: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "no manifest": (lambda copy: (copy / "backup.json").unlink(), 3, "not a complete backup"),
    "not JSON": (lambda copy: (copy / "backup.json").write_text("{"), 4, "manifest is damaged"),
    "a list": (lambda copy: (copy / "backup.json").write_text("[]"), 4, "manifest is damaged"),
    "newer": (_manifest(lambda values: values.update(format=2)), 4, "format 2 is not supported"),
    "no files": (_manifest(lambda values: values.update(files={})), 4, "manifest is damaged"),
    "no count": (_manifest(lambda values: values.pop("blob_count")), 4, "manifest is damaged"),
    "a path outside": (_manifest(lambda values: _file(values, "../x")), 4, "not a path inside"),
    "an absolute path": (_manifest(lambda values: _file(values, "/x")), 4, "not a path inside"),
    "no store": (_manifest(lambda values: _file(values, "x")), 4, "it has no results.db"),
    "a changed key": (lambda copy: _change(copy / "identity" / "ca.pem"), 4, "is damaged: sha256"),
    "a changed store": (lambda copy: _change(copy / "results.db"), 4, "is damaged: sha256"),
    "a lost key": (lambda copy: (copy / "identity" / "ca.pem").unlink(), 4, "file is missing"),
    "a folder": (shutil.rmtree, 3, "not a complete backup"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_backup_is_refused_and_nothing_is_written(
    lost: Fleet, tmp_path: Path, fault: str
) -> None:
    damage, code, words = FAULTS[fault]
    copy, home = tmp_path / "copy", tmp_path / "home"
    shutil.copytree(lost.folder / "copy", copy, ignore=lambda folder, _: _no_blobs(folder))
    damage(copy)
    done = run(lost, "restore", str(copy), "--home", str(home), code=code)
    assert words in done.stderr
    assert [path for path in tmp_path.iterdir() if path != copy] == []


def _no_blobs(folder: str) -> list[str]:
    return ["blobs"] if "results.db" in {path.name for path in Path(folder).iterdir()} else []


def test_a_home_in_use_is_not_overwritten(lost: Fleet, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "mine.txt").write_text("kept")
    copy = str(lost.folder / "copy")
    done = run(lost, "restore", copy, "--home", str(home), code=2)
    assert "has files already" in done.stderr
    assert [path.name for path in home.iterdir()] == ["mine.txt"]
    (home / "mine.txt").unlink()
    run(lost, "restore", copy, "--home", str(home))
    (tmp_path / "file").write_text("")
    done = run(lost, "restore", copy, "--home", str(tmp_path / "file"), code=2)
    assert "not a folder" in done.stderr


def test_a_damaged_blob_is_left_out_with_a_warning(lost: Fleet, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(lost.folder / "copy", copy)
    model = sha256_of(MODEL)
    _change(copy / "blobs" / "sha256" / model[:2] / model)
    needed = file_of_a_run(copy)
    (copy / "blobs" / "sha256" / needed[:2] / needed).unlink()
    done = run(lost, "restore", str(copy), "--home", str(tmp_path / "home"))
    assert "Warning: 2 blobs of the backup are missing or damaged" in done.stderr
    assert f"results or jobs need 1 blobs that are missing, for example {needed}" in done.stderr


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def file_of_a_run(backup: Path) -> str:
    store = sqlite3.connect(backup / "results.db")
    try:
        return str(store.execute("SELECT sha256 FROM run_file").fetchone()[0])
    finally:
        store.close()


def test_what_is_outside_of_the_home_is_named(tmp_path: Path) -> None:
    with fleet_in(tmp_path / "fleet") as fleet:
        config = fleet.home / "config.toml"
        fleet.start_controller()
        fleet.kill("controller", signal.SIGTERM)
        config.write_text(
            config.read_text()
            + 'mirror = "/srv/mirror"\npower_cycle = ["/usr/bin/plug", "{name}"]\n'
            + 'catalogs = ["/srv/absent"]\n'
        )
        copy = tmp_path / "copy"
        done = run(fleet, "backup", "--home", str(fleet.home), "--out", str(copy))
        outside = ["mirror /srv/mirror", "power_cycle command /usr/bin/plug"]
        outside.append("catalog /srv/absent, which is missing")
        for line in outside:
            assert f"Not in the backup: {line}" in done.stderr
        config.write_text("mirror = 3\n")
        copy = tmp_path / "second copy"
        done = run(fleet, "backup", "--home", str(fleet.home), "--out", str(copy))
        assert "since it is not valid" in done.stderr
        assert (copy / "config.toml").read_text() == "mirror = 3\n"
        run(fleet, "backup", "--home", str(tmp_path), "--out", str(tmp_path / "no"), code=3)
        assert not (tmp_path / "no").exists()
