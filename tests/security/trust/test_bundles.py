"""Devices on no network, and packs: real commands on both sides, nothing between them but files."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleetmark_core.bundle_file import BUNDLE, write_files
from tests.support import noop_benchmark
from tests.support.processes import BIN, Fleet, environment, fleet_in


class Offline:
    """A controller, and a device that it never hears."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.device = fleet.folder / "device"
        self.marks = fleet.marks
        self.device.mkdir(mode=0o700)
        (self.device / "config.toml").write_text(f'allow_folders = ["{self.marks}"]\n')
        described = fleet.folder / "device.json"
        assert self.agent("describe", str(described), "--name", "far-away").returncode == 0
        added = fleet.run("fleet", "add", str(described), "--json")
        assert added.returncode == 0, added.stderr
        assert json.loads(added.stdout)["name"] == "far-away"
        self.bundle = fleet.folder / "job.bundle"
        self.job = self.schedule()
        self.pin = self.export(self.job, self.bundle)["pin"]

    def agent(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "agent"), *words, "--home", str(self.device)],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def schedule(self) -> str:
        words = ("schedule", "toy", "--fleet", "name=far-away", "--param", "duration_s=0.1")
        done = self.fleet.run(*words, "--param", f"marks={self.marks}")
        assert done.returncode == 0, done.stderr
        ((job,),) = self.fleet.query("SELECT job_id FROM job ORDER BY sequence DESC LIMIT 1")
        return str(job)

    def export(self, job: str, out: Path) -> dict[str, str]:
        done = self.fleet.run("bundle", "export", job, "--out", str(out), "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout)
        return found

    def counts(self) -> list[tuple[object, ...]]:
        return self.fleet.query(
            "SELECT (SELECT count(*) FROM record), (SELECT count(*) FROM run),"
            " (SELECT count(*) FROM event), (SELECT group_concat(state) FROM job)"
        )


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Offline]:
    with fleet_in(tmp_path_factory.mktemp("offline")) as fleet:
        catalog = noop_benchmark.make_catalog(fleet.folder / "catalog", 1000)
        fleet.start_controller("--catalog", str(catalog))
        yield Offline(fleet)


def _zip(change: Callable[[zipfile.ZipFile], None], source: Path, out: Path) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
        for entry in old.infolist():
            new.writestr(entry, old.read(entry))
        change(new)


def _entry(name: str, data: bytes = b"x", **more: int) -> Callable[[zipfile.ZipFile], None]:
    def change(archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo(name)
        for key, value in more.items():
            setattr(entry, key, value)
        archive.writestr(entry, data)

    return change


TRICKS = {
    "traversal": _entry("../evil"),
    "absolute": _entry("/tmp/evil"),
    "backslash": _entry("blobs\\evil"),
    "a link": _entry("blobs/" + "e" * 64, b"/etc/passwd", external_attr=0o120777 << 16),
    "a device": _entry("blobs/" + "e" * 64, b"", external_attr=0o020666 << 16),
    "a bomb": _entry("blobs/" + "e" * 64, b"0" * 1_000_000, compress_type=zipfile.ZIP_DEFLATED),
    "a name twice": _entry(BUNDLE, b"{}"),
    "a name that is no digest": _entry("blobs/" + "E" * 64),
    "a stranger": _entry("readme.txt"),
    "a file that it does not name": _entry("blobs/" + "e" * 64),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", TRICKS)
def test_a_tricky_bundle_is_refused_whole(offline: Offline, tmp_path: Path, name: str) -> None:
    evil, out = tmp_path / "evil.bundle", tmp_path / "results"
    _zip(TRICKS[name], offline.bundle, evil)
    done = offline.agent("run-bundle", str(evil), "--out", str(out), "--trust", offline.pin)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
    assert not (offline.device / "cache" / "blobs").exists()
    assert not list(offline.marks.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["evil.bundle"]


def test_a_bundle_that_is_cut_short_is_refused(offline: Offline, tmp_path: Path) -> None:
    data = offline.bundle.read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    done = offline.agent("run-bundle", str(tmp_path / "cut"), "--out", str(tmp_path / "out"))
    assert done.returncode == 4
    assert "truncated" in done.stderr


def test_a_device_without_trusted_keys_runs_nothing(offline: Offline, tmp_path: Path) -> None:
    if (offline.device / "identity" / "trust.json").exists():
        pytest.skip("an earlier test has pinned a key")
    done = offline.agent("run-bundle", str(offline.bundle), "--out", str(tmp_path / "out"))
    assert done.returncode == 4
    assert "trusts no controller yet" in done.stderr


def test_a_changed_order_is_refused_and_the_refusal_can_be_imported(
    offline: Offline, tmp_path: Path
) -> None:
    job = offline.schedule()
    bundle, evil, out = tmp_path / "honest", tmp_path / "evil", tmp_path / "out"
    offline.export(job, bundle)
    with zipfile.ZipFile(bundle) as old:
        texts = {entry.filename: old.read(entry) for entry in old.infolist()}
    about = json.loads(texts[BUNDLE])
    about["order"] = about["order"].replace('\\"timeout_s\\":', '\\"timeout_s\\":1')
    texts[BUNDLE] = json.dumps(about).encode()
    write_files(evil, texts, {})
    done = offline.agent("run-bundle", str(evil), "--out", str(out), "--trust", offline.pin)
    assert done.returncode == 4
    assert "untrusted (bad signature): the order does not match its signature" in done.stderr
    assert not list(offline.marks.glob(f"*{job}*"))
    for _ in range(2):
        imported = offline.fleet.run("results", "import", str(out))
        assert imported.returncode == 0, imported.stderr
    ((state, reason),) = offline.fleet.query(
        f"SELECT state, reason FROM job WHERE job_id = '{job}'"
    )
    assert state == "FAILED"
    assert "untrusted (bad signature)" in str(reason)


def test_changed_results_are_refused(offline: Offline, tmp_path: Path) -> None:
    """And then the true ones are taken in, once however often they come."""
    again = tmp_path / "again"
    offline.export(offline.job, again)
    assert again.read_bytes() == offline.bundle.read_bytes()
    out = tmp_path / "out"
    done = offline.agent(
        "run-bundle", str(offline.bundle), "--out", str(out), "--trust", offline.pin
    )
    assert done.returncode == 0, done.stderr
    assert len(list(offline.marks.glob(f"*{offline.job}*.begin"))) == 1
    assert not list((offline.device / "attempts").iterdir())
    with zipfile.ZipFile(out) as old:
        texts = {entry.filename: old.read(entry) for entry in old.infolist()}
    texts["results.json"] = texts["results.json"].replace(b"completed", b"CompleteD", 1)
    write_files(tmp_path / "evil", texts, {})
    refused = offline.fleet.run("results", "import", str(tmp_path / "evil"))
    assert refused.returncode == 4
    assert "changed after the device signed it" in refused.stderr

    assert offline.fleet.run("results", "import", str(out)).returncode == 0
    from tests.support.processes import until

    until(
        lambda: (
            offline.fleet.query(f"SELECT state FROM job WHERE job_id = '{offline.job}'")
            == [("SUCCEEDED",)]
        ),
        "the verdict",
    )
    before = offline.counts()
    for _ in range(2):
        repeated = offline.fleet.run("results", "import", str(out), "--json")
        assert json.loads(repeated.stdout)["new_records"] == 0
    assert offline.counts() == before
    ((device, serial),) = offline.fleet.query("SELECT device, release_serial FROM runs")
    assert device == "far-away"
    assert serial

    twice = offline.agent("run-bundle", str(offline.bundle), "--out", str(tmp_path / "twice"))
    assert twice.returncode == 4
    assert "was run here before" in twice.stderr


def test_a_pack_is_verified_and_runs_again_elsewhere(offline: Offline, tmp_path: Path) -> None:
    ((campaign,),) = offline.fleet.query("SELECT DISTINCT campaign_id FROM runs")
    pack, place = tmp_path / "pack.zip", tmp_path / "unpacked"
    done = offline.fleet.run("campaign", "pack", str(campaign), "--out", str(pack))
    assert done.returncode == 0, done.stderr
    shown = json.loads(offline.fleet.run("catalog", "key", "show", "--json").stdout)
    trust = ("--trust", shown["catalog_sha256"])
    fresh = {**environment(), "FLEETMARK_CONTROLLER_HOME": str(tmp_path / "none")}

    def unpack(source: Path, *more: str) -> subprocess.CompletedProcess[str]:
        words = [str(BIN / "controller"), "pack", "verify", str(source), str(place), *more]
        return subprocess.run(words, env=fresh, capture_output=True, text=True, check=False)

    foreign = unpack(pack, "--trust", "0" * 64)
    assert foreign.returncode == 4
    assert "no rotation connects" in foreign.stderr
    with zipfile.ZipFile(pack) as old:
        texts = {entry.filename: old.read(entry) for entry in old.infolist()}
    changed = {**texts, "components/program/toy/main.py": b"import os\n"}
    write_files(tmp_path / "changed.zip", changed, {})
    assert "does not match its digest" in unpack(tmp_path / "changed.zip", *trust).stderr
    assert not place.exists()
    done = unpack(pack, *trust)
    assert done.returncode == 0, done.stderr
    sums = subprocess.run(["sha256sum", "--quiet", "-c", "CHECKSUMS"], cwd=place, check=False)
    assert sums.returncode == 0

    ((lock, marks),) = offline.fleet.query(
        "SELECT lockfile_sha256, json_extract(parameters, '$.marks') FROM runs"
    )
    command = re.search(r"^controller (schedule .*)$", (place / "README.md").read_text(), re.M)
    assert command is not None
    assert str(marks) in command[1]
    with fleet_in(tmp_path / "clean") as fleet:
        fleet.start_controller("--mirror", str(place / "mirror"), "--catalog", str(place / "added"))
        fleet.start_agent("other", "--allow-folder", str(marks))
        again = fleet.run(*command[1].split())
        assert again.returncode == 0, again.stderr
        assert fleet.query("SELECT lockfile_sha256 FROM runs") == [(lock,)]
