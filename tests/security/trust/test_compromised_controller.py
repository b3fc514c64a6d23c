"""A table of attacks through a real controller that was taken over, a real agent and real jobs.

Each is refused before anything is unpacked or run, is named in the job, leaves nothing on the
device, and the agent goes on.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetmark_controller.signing import key_file
from fleetmark_controller.signing.key_file import CatalogKey
from fleetmark_core.release import parse_envelope, parse_release, seal_release
from tests.support import ROOT, noop_benchmark
from tests.support.processes import Fleet, environment, until

ATTACKS = {
    "unsigned_order": "untrusted (unsigned): the order is not signed",
    "foreign_controller": "untrusted (foreign key): the order is signed with a key",
    "changed_order": "untrusted (bad signature): the order does not match its signature",
    "order_without_release": "untrusted (unsigned): the order names no release",
    "unsigned_release": "untrusted (unsigned): the release is not signed",
    "foreign_catalog_key": "untrusted (foreign key): the release is signed with catalog key",
    "forged_rotation": "untrusted (bad signature): a rotation of the catalog key is not signed "
    "by the old key",
    "changed_release": "untrusted (bad signature): the release does not match its signature",
    "older_release": "untrusted (older than a known release): release",
    "expired_release": "untrusted (expired): release",
    "other_release": "untrusted (mixed): the order names release",
    "release_without_it": "untrusted (not released): ",
    "parameter_out_of_range": "untrusted (not allowed): parameter busy cannot be '1000'",
    "unknown_parameter": "untrusted (not allowed): the program has no parameter 'evil'",
    "other_command": "untrusted (not allowed): the command '/bin/sh -c",
    "new_code": "untrusted (not released): main.py",
    "new_wheel": "untrusted (not released): evil-1.0-py3-none-any.whl",
    "new_archive": "untrusted (not released): evil.tar",
    "new_variable": "untrusted (not allowed): no component defines the variable LD_PRELOAD",
    "swapped_file": "main.py: sha256 is",
    "other_device": "the order belongs to another attempt",
}


class CompromisedFleet:
    """The fleet, and what the attacker can do to it."""

    def __init__(self, folder: Path) -> None:
        self.fleet = Fleet(folder)
        self.marks = self.fleet.marks
        catalog = noop_benchmark.make_catalog(folder / "catalog")
        program = catalog / "program" / "toy" / "component.toml"
        text = program.read_text()
        assert '[program.parameters.busy]\ntype = "int"\n' in text
        program.write_text(
            text.replace(
                '[program.parameters.busy]\ntype = "int"\n',
                '[program.parameters.busy]\ntype = "int"\nmin = 0\nmax = 4\n',
            )
        )
        self.catalog = catalog
        self.arguments = ("--catalog", str(catalog))
        self.key = self._prepare()

    def _prepare(self) -> CatalogKey:
        """Prepare keys, a release, and a device that has verified it."""
        fleet = self.fleet
        fleet.start_controller(*self.arguments)
        fleet.start_agent("device")
        assert self.schedule() == ("SUCCEEDED", "")
        loot = fleet.home / "loot"
        loot.mkdir()
        shutil.copy(fleet.home / "release.json", loot / "older")
        made = fleet.run("catalog", "release", "sign", "--json")
        assert made.returncode == 0, made.stderr
        assert self.schedule() == ("SUCCEEDED", "")
        place = fleet.home / "identity" / "catalog-key.json"
        key = key_file.read(place)
        place.unlink()  # it is kept elsewhere from now on
        release = parse_release(parse_envelope((fleet.home / "release.json").read_bytes()).signed)
        now_s = int(time.time())
        expired = vars(release) | {"version": release.version + 1, "expires_unix_s": now_s - 86_400}
        expired.pop("by_id", None)
        self._store_stolen_release("expired", type(release)(**expired), key)
        other = vars(release) | {"version": release.version + 2}
        other.pop("by_id", None)
        other["components"] = tuple(c for c in release.components if c["name"] != "toy")
        self._store_stolen_release("other", type(release)(**other), key)
        fleet.kill("controller")
        self._serve()
        until(lambda: fleet.presence("device") == "online", "the device at the taken controller")
        return key

    def _store_stolen_release(self, name: str, release: object, key: CatalogKey) -> None:
        data = seal_release(release, key.private).canonical()  # type: ignore[arg-type]
        (self.fleet.home / "loot" / name).write_bytes(data)

    def _serve(self) -> None:
        import subprocess

        fleet = self.fleet
        words = [sys.executable, "-m", "tests.security.trust.compromised_controller", "serve"]
        words += ["--home", str(fleet.home), "--listen", fleet.address, *self.arguments]
        with (fleet.folder / "controller.log").open("ab") as log:
            fleet.children["controller"] = subprocess.Popen(
                words, cwd=ROOT, env=environment(), stdout=log, stderr=log
            )
        until(lambda: fleet.run("fleet", "list").returncode == 0, "the taken controller")

    def schedule(self, *words: str) -> tuple[str, str]:
        """Return state and reason of the job after its end."""
        marks = str(self.marks)
        done = self.fleet.run(
            *("schedule", "toy", "--fleet", "name=device", "--param", f"marks={marks}", "--wait"),
            *("--param", "duration_s=0.1", "--max-attempts", "1", "--json", *words),
        )
        assert done.returncode in (0, 1), done.stderr
        ((state, reason),) = self.fleet.query(
            "SELECT state, reason FROM job ORDER BY sequence DESC LIMIT 1"
        )
        return str(state), str(reason)

    def begun(self) -> int:
        return len(list(self.marks.glob("*.begin")))


@pytest.fixture(scope="module")
def compromised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CompromisedFleet]:
    folder = tmp_path_factory.mktemp("taken")
    made: CompromisedFleet | None = None
    try:
        made = CompromisedFleet(folder)
        yield made
    finally:
        if made is not None:
            made.fleet.stop()
            print(made.fleet.log("controller")[-3000:], made.fleet.log("device")[-3000:])


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_and_named_and_leaves_nothing(
    compromised: CompromisedFleet, name: str
) -> None:
    fleet, device = compromised.fleet, compromised.fleet.folder / "device"
    before, trusted = compromised.begun(), (device / "identity" / "trust.json").read_text()
    blobs = {path.name for path in (device / "cache" / "blobs" / "sha256").glob("*/*")}
    if name == "swapped_file":
        # What the device has already it does not ask for.
        shutil.rmtree(device / "cache" / "blobs" / "sha256")
    (fleet.home / "attack").write_text(name)
    try:
        state, reason = compromised.schedule()
    finally:
        (fleet.home / "attack").unlink()
    assert state == "FAILED"
    assert ATTACKS[name] in reason
    assert compromised.begun() == before
    assert not (compromised.marks / "evil").exists()
    assert not list((device / "attempts").iterdir())
    assert {path.name for path in (device / "cache" / "blobs" / "sha256").glob("*/*")} <= blobs
    after = json.loads((device / "identity" / "trust.json").read_text())
    assert after["serial"] == json.loads(trusted)["serial"]
    assert fleet.presence("device") == "online"


def test_afterwards_the_device_still_runs_valid_jobs(compromised: CompromisedFleet) -> None:
    state, reason = compromised.schedule()
    assert (state, reason) == ("SUCCEEDED", "")
    (serial,) = compromised.fleet.query("SELECT release_serial FROM runs ORDER BY run_id DESC")[0]
    newest = parse_release(
        parse_envelope((compromised.fleet.home / "release.json").read_bytes()).signed
    ).version
    assert serial == newest
