"""Disturbances, provoked while a real agent runs a job for a real controller: each is named.

The device's files are a tree that the test changes; the busy neighbour is a real one. The job has
genuine LoadGen logs whose times are made those of the job. Other processes of the machine may
disturb a run, too, so that only a reason's presence is asked for where that is what was provoked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support import noop_benchmark
from tests.support.device_tree import CPU, DeviceTree
from tests.support.processes import Fleet, fleet_in, until

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("condition")]

PROGRAM = """
import json, os, shutil, time
from datetime import datetime, timezone
from pathlib import Path

job = json.loads(Path(os.environ["FLEETMARK_JOB"]).read_text())
out, own, said = Path.cwd(), Path(__file__).parent, job["parameters"]
marks = Path(said["marks"])
started = time.time()
(marks / f"{job['job_id']}.begin").touch()
time.sleep(said["duration_s"])
ended = time.time()
slower = said.get("slower", 0)
shutil.copyfile(own / "mlperf_log_summary.txt", out / "mlperf_log_summary.txt")
shutil.copyfile(own / "result.json", out / "result.json")
shutil.copyfile(own / "samples.i64", out / "samples.i64")
lines = []
for line in (own / "mlperf_log_detail.txt").read_text().splitlines():
    entry = json.loads(line.removeprefix(":::MLLOG "))
    for key, at in (("power_begin", started), ("power_end", ended)):
        if entry["key"] == key:
            moment = datetime.fromtimestamp(at, timezone.utc)
            entry["value"] = moment.strftime("%m-%d-%Y %H:%M:%S.%f")[:-3]
            if key == "power_end":
                entry["time_ms"] += 1000 * (ended - started) - 250
    if entry["key"] == "result_qps_with_loadgen_overhead":
        entry["value"] *= 0.25 / (ended - started)
    lines.append(f":::MLLOG {json.dumps(entry)}")
time.sleep(0.3)
(out / "mlperf_log_detail.txt").write_text("\\n".join(lines) + "\\n")
"""
MEASURED_S = 1.5


class Device:
    """A fleet of one device, whose files are a tree."""

    def __init__(self, fleet: Fleet, tree: DeviceTree) -> None:
        self.fleet = fleet
        self.tree = tree

    def run(self, disturb: Callable[[DeviceTree], object] = id, *flags: str) -> str:
        """Run one job and disturb it while it measures; returns its run."""
        before = set(self.fleet.marks.glob("*.begin"))

        def later() -> None:
            until(lambda: set(self.fleet.marks.glob("*.begin")) - before, "the job")
            time.sleep(MEASURED_S / 3)
            disturb(self.tree)

        helper = threading.Thread(target=later)
        helper.start()
        try:
            done = self.fleet.run(
                *("schedule", "toy", "--wait", "--param", f"marks={self.fleet.marks}"),
                *("--param", f"duration_s={MEASURED_S}", *flags),
            )
        finally:
            helper.join()
        assert done.returncode == 0, done.stdout + done.stderr
        runs = json.loads(self.fleet.run("results", "list", "--runs", "--json").stdout)
        return str(max(run["run_id"] for run in runs))

    def figures(self, run: str) -> dict[str, Any]:
        figures = json.loads(self.fleet.run("results", "show", run, "--json").stdout)
        figures["codes"] = {r["code"] for r in json.loads(figures["condition_reasons"])}
        return dict(figures)

    def shown(self, run: str) -> str:
        done = self.fleet.run("results", "show", run)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    folder = tmp_path_factory.mktemp("condition")
    tree = DeviceTree(folder / "tree").reset_to_healthy()
    with fleet_in(folder) as fleet:
        catalog = noop_benchmark.make_catalog(folder / "catalog")
        (catalog / "program" / "toy" / "main.py").write_text(PROGRAM)
        benchmark = catalog / "benchmark" / "toy" / "component.toml"
        text = benchmark.read_text()
        condition = "condition = { least_runs = 2, most_runs = 3, cool_wait_s = 60 }\n"
        benchmark.write_text(text.replace("[benchmark]\n", f"[benchmark]\n{condition}"))
        fleet.start_controller("--catalog", str(catalog))
        home = folder / "device-1"
        home.mkdir()
        (home / "config.toml").write_text(
            f'telemetry_interval_s = 0.2\ndetect_interval_s = 0\nsystem_root = "{tree.root}"\n'
        )
        fleet.start_agent("device-1")
        yield Device(fleet, tree)


@pytest.fixture(autouse=True)
def reset_to_healthy(device: Device) -> None:
    """Each test begins on a calm device without sensors of power."""
    for path in (device.tree.root / "sys/class").glob("powercap/*/*"):
        path.unlink()
    device.tree.reset_to_healthy()


def battery(tree: DeviceTree) -> None:
    tree.power_supply(mains=False, discharging=True)


DISTURBANCES: dict[str, tuple[str, Callable[[DeviceTree], object], str]] = {
    "fake throttling": ("throttled", lambda t: t.firmware(0x4), "throttled: the device throttled"),
    "frequency drift": ("frequency_drift", lambda t: t.clock(600), "from 1800 to 600 MHz"),
    "battery switch": ("power_mode_change", battery, "power=mains became power=battery"),
    "governor change": ("power_mode_change", lambda t: t.governor("performance"), "governor="),
    "nvpmodel change": (
        "power_mode_change",
        lambda t: t.put("var/lib/nvpmodel/status", "pmode:0001"),
        "nvpmodel=0001",
    ),
    "swap": ("swap", lambda t: t.swap(used_mib=64, swapped_pages=20_000), "swapped in and out"),
    "heat": ("hot", lambda t: t.temperature(88), "the device reached 88 °C"),
    "CPU quota": (
        "cpu_quota",
        lambda t: t.cpu_quota(periods=438, throttled=348),
        "the CPU quota was used up in 348 of 438 periods",
    ),
    "cooled by the kernel": ("throttled", lambda t: t.ceiling(600), "CPU clock capped"),
}
ALL_AT_ONCE = (
    *("fake throttling", "frequency drift", "battery switch", "swap", "heat"),
    "CPU quota",
)


def test_all_at_once_and_then_nothing(device: Device) -> None:
    def disturb(tree: DeviceTree) -> None:
        for name in ALL_AT_ONCE:
            DISTURBANCES[name][1](tree)

    run = device.run(disturb)
    found = device.figures(run)
    wanted = {DISTURBANCES[name][0] for name in ALL_AT_ONCE}
    assert wanted <= found["codes"]
    assert (found["loadgen_validity"], found["condition"]) == ("VALID", "suspicious")
    lines = device.shown(run)
    for name in ALL_AT_ONCE:
        code, _, words = DISTURBANCES[name]
        assert f"- {code}: " in lines and words in lines
    assert "LoadGen    VALID\nCondition  suspicious\n" in lines
    assert "Energy     unavailable: the device has no power or energy sensor" in lines
    path = device.fleet.folder / "runs.csv"
    done = device.fleet.run("export", "--format", "csv", "--out", str(path))
    assert done.returncode == 0, done.stderr
    header = path.read_text().splitlines()[0].split(",")
    assert {"energy_per_query_j", "energy_unavailable", "temperature_start_c"} <= set(header)
    # The same device without: only neighbours may be named.
    device.tree.reset_to_healthy()
    assert device.figures(device.run())["codes"] <= {"competing_load"}


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTURBANCES)
def test_each_disturbance_is_named(device: Device, name: str) -> None:
    code, disturb, words = DISTURBANCES[name]
    (device.tree.root / "var/lib/nvpmodel/status").unlink(missing_ok=True)
    run = device.run(disturb)
    assert device.figures(run)["codes"] - {"competing_load"} == {code}
    assert words in device.shown(run)


@pytest.mark.slow
def test_a_warm_start_is_named(device: Device) -> None:
    device.tree.temperature(72)
    run = device.run()
    assert device.figures(run)["codes"] - {"competing_load"} == {"warm_start"}
    shown = device.shown(run)
    assert "warm_start: the device was at 72 °C before the job began (72, limit 65)" in shown


@pytest.mark.slow
def test_a_busy_neighbour_is_named(device: Device) -> None:
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        run = device.run()
    finally:
        neighbour.kill()
        neighbour.wait()
    assert "competing_load" in device.figures(run)["codes"]
    assert "- competing_load: other processes took" in device.shown(run)


def test_a_stable_campaign_with_energy(device: Device) -> None:
    """It cools first, sets the governor and sets it back, repeats, and has its joules."""
    tree = device.tree
    tree.temperature(80)
    stopped = threading.Event()

    def use_power() -> None:
        """20 W, by a counter that wraps in between."""
        began, wraps_at, first = time.monotonic(), 262_000_000, 250_000_000
        while not stopped.wait(0.01):
            used = round((time.monotonic() - began) * 20e6)
            tree.rapl("intel-rapl:0", "package-0", (first + used) % wraps_at, wraps_at)
            if used > 20e6:
                tree.temperature(50)

    tree.rapl("intel-rapl:0", "package-0", 250_000_000, 262_000_000)
    user = threading.Thread(target=use_power)
    user.start()
    seen: list[str] = []

    def look(tree: DeviceTree) -> None:
        seen.append(tree.get(f"{CPU}/cpufreq/policy0/scaling_governor"))

    try:
        run = device.run(look, "--stable")
    finally:
        stopped.set()
        user.join()
    assert seen == ["performance"]
    assert tree.get(f"{CPU}/cpufreq/policy0/scaling_governor") == "powersave"
    found = device.figures(run)
    assert found["energy_j"] == pytest.approx(20 * found["duration_s"], rel=0.3), found[
        "energy_unavailable"
    ]
    assert found["power_mean_w"] == pytest.approx(20, rel=0.3)
    assert found["energy_per_query_j"] == found["energy_j"] / found["query_count"]
    assert (found["energy_source"], found["energy_official"]) == ("rapl package-0 (cpu)", 0)
    assert found["repeat_interval_percent"] == 0, "the toy's figures are all the same"
    lines = device.shown(run)
    assert "governor performance instead of powersave" in lines
    assert "- unofficial, by rapl package-0 (cpu)" in lines
    campaigns = device.fleet.query(
        "SELECT count(*), count(DISTINCT repetition) FROM jobs WHERE campaign_id ="
        f" (SELECT campaign_id FROM runs WHERE run_id = '{run}')"
    )
    assert campaigns == [(2, 2)], "two runs that agree are enough for this benchmark"
    _import_power(device, run, found)


def _import_power(device: Device, run: str, found: dict[str, Any]) -> None:
    """The same run with the log of an analyzer."""
    path = device.fleet.folder / "spl.txt"
    started = datetime.fromisoformat(found["started_at"].replace("Z", "+00:00"))
    lines = []
    for number in range(-1, 8):
        at = (started + timedelta(seconds=0.1 + number / 4)).strftime("%m-%d-%Y %H:%M:%S.%f")[:-3]
        lines.append(f"Time,{at},Watts,{24 + number},Volts,228.5,Amps,0.2,PF,0.48,Mark,x")
    path.write_text("\n".join(lines) + "\n")
    reported = device.fleet.run("results", "import-power", run, str(path), "--json")
    assert reported.returncode == 0, reported.stderr
    reply = json.loads(reported.stdout)
    for _ in range(2):
        assert device.fleet.run("results", "import-power", run, str(path)).returncode == 0
        after = device.figures(run)
        assert after["energy_j"] == pytest.approx(reply["power_mean_w"] * found["duration_s"])
        assert (after["energy_source"], after["energy_official"]) == ("PTDaemon (board)", 1)
        assert [file["name"] for file in after["files"]].count("spl.txt") == 1
    assert "- official, by PTDaemon (board)" in device.shown(run)
    late = device.fleet.run("results", "import-power", run, str(path), "--clock-offset", "3600")
    assert late.returncode == 4
    assert "no sample in the measured interval" in late.stderr
    assert "--clock-offset" in late.stderr
    path.write_text("nothing of power\n")
    other = device.fleet.run("results", "import-power", run, str(path))
    assert (other.returncode, other.stdout) == (4, "")
    assert "contains no PTDaemon line" in other.stderr
    path.write_text("\n".join(lines) + "\n")
    assert device.fleet.run("results", "import-power", "0000", str(path)).returncode == 3
    acts = json.loads(device.fleet.run("audit", "show", "--json").stdout)
    assert [row["subject"] for row in acts if row["action"] == "run.import_power"] == [run] * 3
