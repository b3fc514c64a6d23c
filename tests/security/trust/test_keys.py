"""Catalog keys through real commands: rotated, kept elsewhere, and what waits without one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark
from tests.support.processes import Fleet, fleet_in, until


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_in(tmp_path_factory.mktemp("keys")) as fleet:
        fleet.start_controller()
        fleet.start_agent("device")
        yield fleet


def key(fleet: Fleet) -> dict[str, object]:
    found: dict[str, object] = json.loads(fleet.run("catalog", "key", "show", "--json").stdout)
    return found


def test_devices_follow_a_rotated_key_and_a_key_that_is_kept_elsewhere(
    fleet: Fleet, tmp_path: Path
) -> None:
    catalog = noop_benchmark.make_catalog(tmp_path / "catalog")
    words = ("schedule", "toy", "--param", f"marks={fleet.marks}", "--param", "duration_s=0.1")
    trust = fleet.folder / "device" / "identity" / "trust.json"

    # The key is stored here: what is added is released when it is scheduled.
    first = key(fleet)
    assert fleet.run("catalog", "add", str(catalog)).returncode == 0
    assert fleet.run(*words, "--wait").returncode == 0

    # Handed over on the controller's host.
    assert fleet.run("catalog", "key", "rotate").returncode == 0
    second = key(fleet)
    assert second["catalog_sha256"] != first["catalog_sha256"]
    assert int(str(second["serial"])) > int(str(first["serial"]))
    assert fleet.run(*words, "--wait").returncode == 0
    assert json.loads(trust.read_text())["catalog_sha256"] == second["catalog_sha256"]

    # Handed over to one that was never there, which signs the next release from elsewhere.
    own, elsewhere = fleet.home / "identity" / "catalog-key.json", tmp_path / "elsewhere.json"
    rotated = fleet.run("catalog", "key", "rotate", "--key", str(own), "--out", str(elsewhere))
    assert rotated.returncode == 0, rotated.stderr
    done = fleet.run("catalog", "release", "sign", "--key", str(elsewhere))
    assert done.returncode == 0, done.stderr
    assert key(fleet)["has_private_key"] is False
    own.unlink()
    refused = fleet.run("catalog", "release", "sign")
    assert refused.returncode == 4
    assert "this host has no catalog key" in refused.stderr
    assert fleet.run(*words, "--wait").returncode == 0

    # What is new waits, says so, and runs after a release that came in a file.
    other = noop_benchmark.make_catalog(tmp_path / "other")
    for place in other.glob("*/toy"):
        text = (place / "component.toml").read_text()
        (place / "component.toml").write_text(
            text.replace('"toy"', '"toy2"').replace("/toy", "/toy2")
        )
        place.rename(place.with_name("toy2"))
    assert fleet.run("catalog", "add", str(other)).returncode == 0
    waiting = fleet.run("schedule", "toy2", *words[2:])
    assert waiting.returncode == 0, waiting.stderr
    listed = fleet.run("jobs", "list", "--json").stdout
    assert "unsigned: " in listed
    assert "toy2" in "".join(map(str, key(fleet)["unsigned"]))  # type: ignore[call-overload]
    draft, signed = tmp_path / "draft.json", tmp_path / "release.json"
    assert fleet.run("catalog", "release", "propose", str(draft)).returncode == 0
    unsigned = fleet.run("catalog", "release", "install", str(draft))
    assert unsigned.returncode == 4
    assert "not signed" in unsigned.stderr
    words_ = ("sign", str(draft), "--key", str(elsewhere), "--out", str(signed))
    assert fleet.run("catalog", "release", *words_).returncode == 0
    assert fleet.run("catalog", "release", "install", str(signed)).returncode == 0
    until(
        lambda: fleet.query("SELECT count(*) FROM job WHERE state <> 'SUCCEEDED'") == [(0,)],
        "the job that waited for a release",
    )
    again = fleet.run("catalog", "release", "install", str(signed))
    assert again.returncode == 4
    assert "is not newer" in again.stderr
