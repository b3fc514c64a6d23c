"""`controller catalog confirm`, against a running controller with one device.

A model that the catalog ships stands in for one of which the publisher states only an MD5: the
same format, in a mirror folder under its MD5 as name.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetmark_catalog.load import BUILTIN
from tests.support.processes import Fleet, fleet_in

pytestmark = pytest.mark.e2e
MODELS = BUILTIN / "model" / "fashion-mnist-dscnn"
DATA = (MODELS / "dscnn_fp32.onnx").read_bytes()
SMALL = (MODELS / "dscnn_int8.onnx").read_bytes()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


SHA256 = hashlib.sha256(DATA).hexdigest()
ARTIFACT = """
[[artifacts]]
name = "{name}"
role = "model"
when = ["{word}"]
md5 = "{md5}"
[[artifacts.locations]]
url = "https://model.invalid/{name}"
size_bytes = 1000000
"""
MODEL = """
kind = "model"
name = "hinted"
version = "1.0"
title = "A model of which only an MD5 is known"
license = "MIT"
[model]
task = "image-classification"
format = "onnx"
input = { name = "image", layout = "NHWC", shape = [28, 28, 1], scale = 0.00392156862745098 }
output = { name = "probs", classes = 10 }
[model.rounds]
inference-edge = ["v5.1", "v6.1"]
tiny = ["v1.3"]
[variations.fp32]
group = "precision"
default = true
[variations.int8]
group = "precision"
"""
BENCHMARK = """
kind = "benchmark"
name = "hinted"
extends = "fashion-mnist"
[[requires]]
role = "model"
component = "model/hinted"
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("confirm")
    mirror = folder / "mirror"
    mirror.mkdir()
    (mirror / md5(DATA)).write_bytes(DATA)
    text = MODEL + ARTIFACT.format(name="hinted.onnx", word="fp32", md5=md5(DATA))
    text += ARTIFACT.format(name="hinted_int8.onnx", word="int8", md5=md5(SMALL))
    for kind, content in (("model", text), ("benchmark", BENCHMARK)):
        place = folder / "hinted-catalog" / kind / "hinted"
        place.mkdir(parents=True)
        (place / "component.toml").write_text(content)
    with fleet_in(folder / "fleet") as fleet:
        fleet.start_controller("--mirror", str(mirror))
        fleet.start_agent("bench-01")
        done = fleet.run("catalog", "add", str(folder / "hinted-catalog"))
        assert done.returncode == 0, done.stderr
        yield fleet


def catalog(fleet: Fleet, *arguments: str, code: int = 0) -> str:
    done = fleet.run("catalog", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stdout + done.stderr


def test_the_rounds_of_a_model_are_shown(fleet: Fleet) -> None:
    text = catalog(fleet, "show", "model/hinted")
    assert "inference-edge v5.1, v6.1; tiny v1.3" in text
    assert "md5 " + md5(DATA) in text and "catalog confirm" in text
    assert "v5.0, v5.1, v6.0, v6.1" in catalog(fleet, "show", "model/resnet50")
    assert "inference-edge v6.0, v6.1" in catalog(fleet, "show", "model/yolov11")


def test_an_unconfirmed_file_does_not_run_and_says_why(fleet: Fleet) -> None:
    done = fleet.run("schedule", "hinted", "--fleet", "linux")
    assert done.returncode == 3
    assert "unsigned" in done.stderr
    assert "controller catalog confirm model/hinted" in done.stderr
    assert "Run `controller catalog confirm model/hinted`" in catalog(
        fleet, "fetch", "model/hinted", code=3
    )


def test_a_confirmed_file_runs(fleet: Fleet, tmp_path: Path) -> None:
    asked = fleet.run("catalog", "confirm", "hinted", "--file", "hinted.onnx")
    assert asked.returncode == 2
    assert "there is no terminal to ask; give --yes" in asked.stderr
    assert SHA256 in asked.stdout and f"{len(DATA):,} bytes" in asked.stdout
    assert "the mirror folder" in asked.stdout and md5(DATA) in asked.stdout
    assert "unsigned" in fleet.run("schedule", "hinted", "--fleet", "linux").stderr
    operator = tmp_path / "operator.json"
    made = fleet.run("operator", "create", "otto", "--role", "operator", "--out", str(operator))
    assert made.returncode == 0, made.stderr
    refused = fleet.run(
        *("catalog", "confirm", "hinted", "--file", "hinted.onnx", "--yes"),
        *("--credentials", str(operator)),
    )
    assert refused.returncode == 4, refused.stderr
    assert "unsigned" in fleet.run("schedule", "hinted", "--fleet", "linux").stderr
    found = json.loads(
        catalog(fleet, "confirm", "hinted", "--file", "hinted.onnx", "--yes", "--json")
    )
    (file,) = found["files"]
    assert (file["sha256"], file["size_bytes"], file["md5"]) == (SHA256, len(DATA), md5(DATA))
    assert found["component"] == "model/hinted" and file["confirmed_by"]
    ran = fleet.run(
        *("schedule", "hinted", "--fleet", "linux", "--scenario", "SingleStream"),
        *("--mode", "performance", "--param", "min_duration_s=0.2", "--wait"),
        timeout_s=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    text = catalog(fleet, "show", "model/hinted")
    assert f"{SHA256[:16]}… confirmed by " in text
    rows = json.loads(fleet.run("audit", "show", "--json").stdout)
    assert {"catalog.check", "catalog.confirm"} <= {row["action"] for row in rows}


def test_files_of_an_operator_are_checked_and_stay_unsigned(fleet: Fleet, tmp_path: Path) -> None:
    missing = catalog(fleet, "confirm", "hinted", "--file", "hinted_int8.onnx", "--yes", code=4)
    assert f"mirror folder under the name {md5(SMALL)}" in missing
    assert "controller catalog import-files model/hinted DIR" in missing
    (tmp_path / "renamed.onnx").write_bytes(SMALL)
    given = catalog(fleet, "import-files", "hinted", str(tmp_path))
    assert "hinted_int8.onnx: taken from" in given
    assert "unsigned until an admin runs `controller catalog confirm model/hinted`" in given
    resolved = catalog(
        fleet, "resolve", "hinted", "--device", "bench-01", "--variation", "int8", code=3
    )
    assert "unsigned" in resolved
    assert "hinted_int8.onnx is confirmed by" in catalog(fleet, "confirm", "hinted", "--yes")


def test_confirmations_are_part_of_a_backup_and_can_be_withdrawn(
    fleet: Fleet, tmp_path: Path
) -> None:
    done = fleet.run("backup", "--home", str(fleet.home), "--out", str(tmp_path / "copy"))
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "copy" / "file-confirmations.json").read_bytes())
    assert {entry["name"]: bool(entry["confirmed_by"]) for entry in kept}["hinted.onnx"]
    catalog(fleet, "confirm", "hinted", "--withdraw", "--yes")
    assert "unsigned" in fleet.run("schedule", "hinted", "--fleet", "linux").stderr
    shutil.rmtree(tmp_path / "copy")
