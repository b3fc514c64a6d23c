"""Planning leaves out what does not fit a device, with both figures; the rest is planned."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from pathlib import Path

import pytest

from fleetmark_catalog.load import load_catalog
from fleetmark_controller.operations import campaigns
from fleetmark_controller.planning.campaign_plan import CampaignPlan, estimated
from fleetmark_controller.planning.campaign_request import CampaignRequest
from fleetmark_controller.planning.device import Device
from fleetmark_controller.planning.estimates import DurationHistory
from fleetmark_controller.planning.model import JobOption, NewCampaign, NewJob
from fleetmark_controller.planning.plan import make_plan
from fleetmark_controller.planning.resources import CalibrationKey
from fleetmark_controller.store.devices.calibrations import CalibrationIndex
from fleetmark_controller.store.jobs import listings
from fleetmark_core.capabilities import Capabilities, Memory, Storage
from fleetmark_core.errors import ErrorKind, FleetmarkError
from fleetmark_core.lockfile import BlobRef
from fleetmark_core.order import parse_order
from tests.support.stores import TestStore

CATALOG = load_catalog()
HARNESS = BlobRef("fleetmark_harness-1.0.0-py3-none-any.whl", "0" * 64, 1000)
GB = 1_000_000_000
FASHION = CalibrationKey("small", "fashion-mnist-dscnn", "fp32", "onnxruntime", "SingleStream")


def device(name: str, facts: Capabilities, memory: Memory, free: int = 9 * GB) -> Device:
    facts = dataclasses.replace(facts, memory=memory, storage=Storage(32 * GB, free))
    return Device(name, name, {}, facts, "0.1.0", "boot", "", "")


def plan(
    devices: list[Device], speeds: dict[CalibrationKey, int] | None = None, **more: object
) -> CampaignPlan:
    request = CampaignRequest(campaign_id="c", benchmark="fashion-mnist", **more)  # type: ignore[arg-type]
    return make_plan(CATALOG, request, devices, HARNESS, 0, speeds)


def test_a_limit_of_512_mb_takes_quick_runs_and_refuses_long_ones(
    x86_device: Capabilities,
) -> None:
    small = device("small", x86_device, Memory(8 * GB, 0, 512 << 20))
    assert len(plan([small]).jobs) == 4
    valid = plan([small], profile="valid")
    # What does not grow with the duration still runs.
    assert [job.job.label.split()[-1] for job in valid.jobs] == ["accuracy"] * 2
    ((name, reason),) = valid.left_out
    assert name == "small"
    assert "fashion-mnist fp32,onnx SingleStream performance: it needs 17.1 GB of memory" in reason
    assert "440.9 MB available" in reason and "--profile quick measures it" in reason
    assert "Offline performance: it needs" in reason
    assert all(0 < job.memory_bytes < 200_000_000 for job in valid.jobs)
    assert all(job.disk_bytes > job.bundle_bytes for job in valid.jobs)


def test_what_a_device_has_shown_decides(x86_device: Capabilities) -> None:
    small = device("small", x86_device, Memory(8 * GB, 0, 512 << 20))
    asked = {"profile": "valid", "scenarios": ("SingleStream",), "modes": ("performance",)}
    assert len(plan([small], {FASHION: 5_000_000}, **asked).jobs) == 1
    for speeds in (
        {FASHION: 500_000},
        {dataclasses.replace(FASHION, device="other"): 5_000_000},
        {dataclasses.replace(FASHION, scenario="Offline"): 5_000_000},
    ):
        with pytest.raises(FleetmarkError) as caught:
            plan([small], speeds, **asked)
        assert caught.value.kind is ErrorKind.NOTHING_FITS
        assert "of memory (LoadGen makes" in str(caught.value)
        assert "440.9 MB available" in str(caught.value)


def test_the_disk_counts_too(x86_device: Capabilities) -> None:
    full = device("full", x86_device, Memory(8 * GB, 0), free=150_000_000)
    with pytest.raises(FleetmarkError, match=r"needs 19\d\.\d MB of disk, 82\.9 MB available"):
        plan([full])


def test_a_device_that_fits_takes_what_another_cannot(x86_device: Capabilities) -> None:
    small = device("small", x86_device, Memory(8 * GB, 0, 512 << 20))
    large = device("large", x86_device, Memory(64 * GB, 0))
    found = plan([small, large], profile="valid", any_device=True, modes=("performance",))
    assert [job.device for job in found.jobs] == ["large", "large"]
    assert [name for name, _ in found.left_out] == ["small"]
    found = plan([small, large], profile="valid")
    assert sorted(job.device for job in found.jobs) == ["large"] * 4 + ["small"] * 2


def test_many_reasons_are_cut_short(x86_device: Capabilities) -> None:
    small = device("small", x86_device, Memory(100_000_000, 0))
    large = device("large", x86_device, Memory(64 * GB, 0))
    found = plan([small, large], parameters={"threads": ("1", "2", "3", "4")})
    ((_, reason),) = found.left_out
    assert reason.count("it needs") == 3 and reason.endswith("and 13 more that do not fit")


@pytest.fixture
def store(tmp_path: Path, x86_device: Capabilities) -> TestStore:
    return TestStore(tmp_path / "results.db", x86_device)


def test_the_order_and_the_jobs_page_carry_the_figures(store: TestStore) -> None:
    store.hello("d1")
    new = NewJob(
        *("job-1", "label", {"scenario": "S", "mode": "m", "profile": "quick", "parameters": {}}),
        *("key", 1, 0, 60.0, "2099-01-01T00:00:00.000Z", 3),
        options=(JobOption("d1", "a" * 64, 100, 1000, 500, 60, 7),),
    )
    campaign = NewCampaign("campaign-1", "b", "", "quick", {})
    store.run(lambda c, fx, now: campaigns.submit(c, fx, now, campaign, [new], {"a" * 64: b"{}"}))
    store.assign("d1")
    (data,) = store.connection.execute("SELECT order_document FROM attempt").fetchone()
    order = parse_order(data)
    assert (order.memory_bytes, order.environment_bytes, order.output_bytes) == (500, 60, 7)
    page = listings.job_page(store.connection, "job-1")
    assert (page.bundle_bytes, page.memory_bytes, page.disk_bytes) == (1000, 500, 1067)


def test_the_quickest_calibration_of_each_configuration_is_known(store: TestStore) -> None:
    store.hello("d1")
    store.submit("d1", count=4)
    provenance = {"program_result": {"calibration": {"latency_ns": 3_200_000, "batch_size": 32}}}
    paces, found = CalibrationIndex(), {}
    rows = [
        ("1", "Offline", json.dumps(provenance), None, 50.0),
        ("2", "Offline", "{}", None, 20_000.0),
        ("3", "SingleStream", "{}", 0.25, None),
        ("4", "SingleStream", "{}", None, None),
    ]
    for number, scenario, document, median_ms, rate in rows:
        key = store.assign("d1")[0]
        _insert_run(store.connection, key.job_id, key.epoch, number, scenario, document)
        store.connection.execute(
            "UPDATE run SET latency_p50_ms = ?, throughput_samples_per_s = ? WHERE run_id = ?",
            (median_ms, rate, number),
        )
        store.connection.execute("UPDATE attempt SET state = 'DONE'")
        store.connection.execute("UPDATE job SET state = 'SUCCEEDED' WHERE state = 'ACTIVE'")
        found = dict(paces.quickest(store.connection))  # read on after each
    one = CalibrationKey("d1", "m", "fp32", "r", "Offline")
    assert found == {one: 50_000, dataclasses.replace(one, scenario="SingleStream"): 250_000}
    assert paces.quickest(store.connection) == found, "nothing new has come"


def _insert_run(
    connection: sqlite3.Connection,
    job_id: str,
    epoch: int,
    run_id: str,
    scenario: str,
    provenance: str,
) -> None:
    values = {
        "run_id": run_id,
        "job_id": job_id,
        "epoch": epoch,
        "official": 1,
        "device": "board",
        "arch": "x86_64",
        "os": "Debian",
        "benchmark": "b",
        "model": "m",
        "precision": "fp32",
        "runtime": "r",
        "scenario": scenario,
        "mode": "performance",
        "profile": "quick",
        "parameters": "{}",
        "condition_reasons": "[]",
        "submittable": 0,
        "lock_sha256": "a" * 64,
        "provenance": provenance,
        "stored_at": "2026-01-01T00:00:00.000Z",
    }
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO run ({names}) VALUES ({marks})", tuple(values.values()))


def test_a_plan_names_its_devices_that_are_offline(x86_device: Capabilities) -> None:
    here, away = (device(name, x86_device, Memory(8 * GB, 0)) for name in ("here", "away"))
    request = CampaignRequest("c", "fashion-mnist", modes=("accuracy",), scenarios=("Offline",))
    online = frozenset({"here"})
    made = make_plan(CATALOG, request, [here, away], HARNESS, 0, online=online)
    assert estimated(made, DurationHistory(), online).size.offline == ("away",)
    assert estimated(made, DurationHistory()).size.offline == (), "not known"
    any_device = dataclasses.replace(request, any_device=True)
    made = make_plan(CATALOG, any_device, [here, away], HARNESS, 0, online=online)
    assert estimated(made, DurationHistory(), online).size.offline == ("away",)
    chosen = dataclasses.replace(request, selector="online")
    made = make_plan(CATALOG, chosen, [here, away], HARNESS, 0, dry_run=True, online=online)
    assert [job.device for job in made.jobs] == ["here"]
    assert made.left_out == [("away", "not online")]
    assert estimated(made, DurationHistory(), online).size.offline == ()
    with pytest.raises(FleetmarkError, match=r"no device matches 'online' .*away: not online"):
        make_plan(CATALOG, chosen, [here, away], HARNESS, 0, online=frozenset())


EITHER = """
kind = "program"
name = "either"
extends = "image-classification"
version = "1.0"
title = "Runs on OpenVINO if it can, or else on ONNX Runtime"

[[requires]]
role = "runtime"
any_of = [{ component = "package/openvino" }, { component = "package/onnxruntime" }]
"""
SPEED = """
kind = "benchmark"
name = "either-speed"
extends = "fashion-mnist"
title = "Speed on either runtime"

[[requires]]
role = "program"
component = "program/either"
"""


def test_a_parameter_of_another_runtime_than_the_resolved_one_leaves_the_device_out(
    x86_device: Capabilities, tmp_path: Path
) -> None:
    """Which runtime a requirement of several gives is known only for a device."""
    for kind, name, text in (("program", "either", EITHER), ("benchmark", "either-speed", SPEED)):
        (tmp_path / kind / name).mkdir(parents=True)
        (tmp_path / kind / name / "component.toml").write_text(text)
    catalog = load_catalog([tmp_path])
    device_1 = device("device-1", x86_device, Memory(8 * GB, 0))

    def planned(**parameters: str) -> CampaignPlan:
        request = CampaignRequest(
            campaign_id="c",
            benchmark="either-speed",
            scenarios=("SingleStream",),
            modes=("performance",),
            parameters={name: tuple(text.split(",")) for name, text in parameters.items()},
        )
        return make_plan(catalog, request, [device_1], HARNESS, 0, dry_run=True)

    assert [job.job.label.split()[-1] for job in planned(num_streams="1,2").jobs] == [
        "num_streams=1",
        "num_streams=2",
    ]
    foreign = planned(graph_optimization="all,basic")
    assert foreign.jobs == []
    assert foreign.left_out == [
        (
            "device-1",
            "parameter graph_optimization does not apply to runtime openvino, only to onnxruntime",
        )
    ]
