"""Sustained runs and start temperatures on a real agent, as an operator sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import noop_benchmark as toy
from tests.support.device_tree import DeviceTree
from tests.support.processes import Fleet, fleet_in, until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STEADY = ("steady_start_s", "steady_throughput_samples_per_s", "steady_latency_mean_ms")


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> DeviceTree:
    return DeviceTree(tmp_path_factory.mktemp("device")).reset_to_healthy()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, device: DeviceTree) -> Iterator[Fleet]:
    """A device whose condition the tests set, one that stays hot, and one without a temperature."""
    folder = tmp_path_factory.mktemp("sustained")
    (folder / "nothing").mkdir()
    hot = DeviceTree(folder / "hot-device").reset_to_healthy()
    hot.temperature(55)
    with fleet_in(folder, quarantine_after=1) as fleet:
        fleet.start_controller("--catalog", str(toy.make_catalog(folder / "catalog")))
        for name, root, wait_s in (
            ("warm", device.root, 600),
            ("hot", hot.root, 1),
            ("blind", folder / "nothing", 600),
        ):
            (folder / name).mkdir()
            (folder / name / "config.toml").write_text(
                f'system_root = "{root}"\nstart_wait_s = {wait_s}\n'
            )
            fleet.start_agent(name)
        yield fleet


def last(fleet: Fleet, columns: str, view: str = "jobs") -> tuple[object, ...]:
    return fleet.query(f"SELECT {columns} FROM {view} ORDER BY rowid DESC LIMIT 1")[0]


def test_a_sustained_run_is_stored_and_shown(fleet: Fleet, tmp_path: Path) -> None:
    done = fleet.run(
        *("schedule", "fashion-mnist", "--fleet", "name=warm", "--scenario", "SingleStream"),
        *("--sustain", "22s", "--start-below", "80C", "--wait"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ((run, mode, duration_s, *figures),) = fleet.query(
        f"SELECT run_id, mode, duration_s, {', '.join(STEADY)} FROM runs"
    )
    assert mode == "performance" and float(str(duration_s)) >= 22
    shown = json.loads(fleet.run("results", "show", str(run), "--json").stdout)
    document = shown["provenance"]["sustained"]
    rows = [dict(zip(document["columns"], row, strict=True)) for row in document["rows"]]
    assert len(rows) >= 20 and rows[-1]["end_s"] == pytest.approx(float(str(duration_s)), abs=0.1)
    assert all(row["throughput_samples_per_s"] > 0 for row in rows)
    assert any(row["temperature_c"] is not None for row in rows)
    steady = document["steady"]
    # A busy machine may have no steady state: then there are no figures, and a reason.
    assert [steady[name.removeprefix("steady_")] for name in STEADY] == figures
    assert (None in figures) == bool(steady["reason"])
    text = fleet.run("results", "show", str(run)).stdout
    assert "Sustained  " in text and "█" in text and "samples/s" in text
    assert "below 80 °C" in text
    done = fleet.run("results", "show", str(run), "--save", str(tmp_path / "files"))
    assert done.returncode == 0, done.stderr
    (saved,) = (tmp_path / "files").rglob("sustained.json")
    assert json.loads(saved.read_text()) == document


def test_another_run_has_no_such_figures(fleet: Fleet) -> None:
    done = fleet.run(
        *("schedule", "fashion-mnist", "--fleet", "name=warm", "--scenario", "SingleStream"),
        *("--mode", "performance", "--wait"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = fleet.query(f"SELECT {', '.join(STEADY)} FROM runs ORDER BY started_at DESC LIMIT 1")
    assert found == [(None, None, None)]


def test_a_run_waits_until_the_device_is_cool(fleet: Fleet, device: DeviceTree) -> None:
    device.temperature(55)
    ask = ("schedule", "toy", "--param", f"marks={fleet.marks}", "--start-below", "40C")
    submitted = fleet.run(*ask, "--fleet", "name=warm", "--json")
    assert submitted.returncode == 0, submitted.stderr
    (job,) = (planned["job_id"] for planned in json.loads(submitted.stdout)["jobs"])
    until(lambda: "cool below 40 °C" in fleet.run("fleet", "list").stdout, "the wait")
    device.temperature(39)
    until(
        lambda: fleet.query(f"SELECT state FROM jobs WHERE job_id = '{job}'") == [("SUCCEEDED",)],
        "the run",
    )
    ((run,),) = fleet.query(f"SELECT run_id FROM runs WHERE job_id = '{job}'")
    shown = json.loads(fleet.run("results", "show", str(run), "--json").stdout)
    limit = shown["provenance"]["start_limit"]
    assert (limit["before_c"], limit["start_c"], limit["below_c"]) == (55.0, 39.0, 40.0)


def test_a_device_that_stays_hot_does_not_run_it(fleet: Fleet) -> None:
    ask = ("schedule", "toy", "--param", f"marks={fleet.marks}", "--start-below", "40C")
    done = fleet.run(*ask, "--fleet", "name=hot", "--max-attempts", "1", "--wait")
    assert done.returncode == 1
    state, reason = last(fleet, "state, reason", "job")
    assert state == "FAILED"
    assert "it must start below 40 °C, but the hottest trusted sensor was at 55.0 °C" in str(reason)
    for name in ("warm", "hot"):
        shown = json.loads(fleet.run("fleet", "show", name, "--json").stdout)
        assert shown["device"]["admin"]["quarantined"] is False


def test_a_device_without_a_temperature_is_left_out(fleet: Fleet) -> None:
    ask = ("schedule", "toy", "--param", f"marks={fleet.marks}", "--start-below", "40C")
    done = fleet.run(*ask, "--dry-run", "--json")
    plan = json.loads(done.stdout)
    assert sorted(planned["device"] for planned in plan["jobs"]) == ["hot", "warm"]
    ((name, reason),) = ((x["device"], x["reason"]) for x in plan["excluded"])
    assert name == "blind" and "no trusted temperature sensor" in reason
    refused = fleet.run(*ask, "--fleet", "name=blind")
    assert refused.returncode == 3 and "no trusted temperature sensor" in refused.stderr
