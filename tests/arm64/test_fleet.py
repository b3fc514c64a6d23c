"""`--fleet arm64` on two emulated arm64 devices beside an x86_64 one."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fleetmark_core.lockfile import parse_lockfile
from tests.arm64.emulated import EmulatedFleet

pytestmark = [pytest.mark.arm64, pytest.mark.timeout(1800)]
SMALL = ("--scenario", "SingleStream", "--fleet", "arm64")
# Emulated, on a machine that may be busy: the limits of the profile are for devices.
PATIENT = ("--timeout", "1500", "--wait")


def facts(fleet: EmulatedFleet, name: str) -> dict[str, object]:
    done = fleet.run("fleet", "list", "--json")
    assert done.returncode == 0, done.stderr
    found = next(device for device in json.loads(done.stdout) if device["name"] == name)
    return dict(found["capabilities"])


@pytest.mark.parametrize("name", ["arm-1", "arm-2"])
def test_the_unmodified_agent_reports_an_arm64_device(fleet: EmulatedFleet, name: str) -> None:
    found = facts(fleet, name)
    assert found["arch"] == "aarch64"
    assert "arm64" in found["tags"]
    assert "x86_64" not in found["tags"]
    interpreters = found["interpreters"]
    assert interpreters, "no Python for jobs"
    for interpreter in interpreters:
        assert interpreter["version"].startswith("3.11.")
        assert "manylinux_2_36_aarch64" in interpreter["platforms"]
        assert not any("x86" in platform for platform in interpreter["platforms"])


def test_a_dry_run_says_what_is_built_first_and_why_the_third_device_is_left_out(
    fleet: EmulatedFleet,
) -> None:
    done = fleet.run("schedule", "fashion-mnist", *SMALL, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert {job["device"] for job in plan["jobs"]} == {"arm-1", "arm-2"}
    [left] = plan["excluded"]
    assert left["device"] == "desk"
    assert "arm64" in left["reason"]
    assert platform.machine() in left["reason"]
    [build] = plan["builds"]
    assert build["wheel"] == "mlcommons_loadgen-6.0.17-cp311-cp311-manylinux_2_28_aarch64.whl"
    assert build["minutes"] >= 1
    reported = fleet.run("schedule", "fashion-mnist", *SMALL, "--dry-run").stdout
    assert "Built first, once" in reported and "Left out" in reported


def test_any_package_that_has_only_sources_is_built_and_runs_on_the_device(
    fleet: EmulatedFleet, tmp_path: Path
) -> None:
    """crcmod 1.7 has one file on the index: its sources."""
    done = fleet.long("catalog", "fetch", "package/crcmod")
    assert done.returncode == 0, done.stderr
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for python, arch in (("3.11", "aarch64"), (own, platform.machine())):
        assert f"building crcmod 1.7 for Python {python} on {arch}" in done.stdout + done.stderr
    records = [json.loads(f.read_bytes()) for f in (fleet.home / "builds").glob("*.json")]
    [made] = [
        r for r in records if r["filename"].startswith("crcmod") and "aarch64" in r["filename"]
    ]
    blob = fleet.home / "blobs" / "sha256" / made["sha256"][:2] / made["sha256"]
    with zipfile.ZipFile(blob) as wheel:
        wheel.extractall(tmp_path)
    question = (
        "import sys; sys.path.insert(0, sys.argv[1]); from crcmod import predefined, _crcfunext; "
        "print(predefined.mkCrcFun('crc-32')(b'123456789'), _crcfunext.__file__)"
    )
    command = [str(fleet.userland.python), "-I", "-c", question, str(tmp_path)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert output[0] == str(0xCBF43926)
    assert "aarch64" in output[1]


def campaign_of(output: str) -> str:
    """The campaign that `schedule` says it made."""
    found = re.search(r"^Campaign ([0-9a-f-]{36}):", output, re.MULTILINE)
    assert found, output
    return found[1]


@pytest.mark.parametrize(
    ("variation", "runtime", "label"),
    [("onnx", "onnxruntime", "fp32,onnx"), ("tflite", "ai-edge-litert", "fp32,tflite")],
)
def test_a_campaign_runs_on_exactly_the_two_arm64_devices(
    with_loadgen: EmulatedFleet, variation: str, runtime: str, label: str
) -> None:
    fleet = with_loadgen
    words = ("--variation", variation, "--mode", "performance", *PATIENT)
    done = fleet.long("schedule", "fashion-mnist", *SMALL, *words)
    print(done.stderr + done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    if not fleet.has_loadgen:
        reported = "building mlcommons-loadgen 6.0.17 for Python 3.11 on aarch64, once"
        assert reported in done.stderr
        fleet.keep_builds()
        fleet.has_loadgen = True
    campaign = campaign_of(done.stdout)
    rows = fleet.query(
        "SELECT device, arch, runtime, loadgen_validity, sample_count, latency_p90_ms > 0 "
        f"FROM runs WHERE campaign_id = '{campaign}' ORDER BY device"
    )
    assert [row[:4] for row in rows] == [
        (name, "aarch64", runtime, "VALID") for name in ("arm-1", "arm-2")
    ]
    assert label in done.stdout
    assert all(row[4] >= 100 and row[5] for row in rows), "samples were streamed"
    locks = fleet.query("SELECT DISTINCT lockfile_sha256 FROM runs WHERE arch = 'aarch64'")
    for (digest,) in locks:
        path = fleet.home / "blobs" / "sha256" / str(digest)[:2] / str(digest)
        wheels = [wheel.name for wheel in parse_lockfile(path.read_bytes()).environment.wheels]
        assert any("manylinux_2_28_aarch64" in name for name in wheels if "loadgen" in name)
        for name in wheels:
            assert name.endswith(("aarch64.whl", "-any.whl")), name


def test_accuracy_on_an_arm64_device_is_that_of_the_model(with_loadgen: EmulatedFleet) -> None:
    fleet = with_loadgen
    words = (
        "--variation",
        "tflite",
        "--variation",
        "int8",
        "--mode",
        "accuracy",
        "--any-device",
        *PATIENT,
    )
    done = fleet.long("schedule", "fashion-mnist", *SMALL, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    campaign = campaign_of(done.stdout)
    [(arch, accuracy)] = fleet.query(
        f"SELECT arch, accuracy FROM runs WHERE campaign_id = '{campaign}'"
    )
    assert arch == "aarch64"
    assert accuracy == pytest.approx(0.939, abs=0.004)
