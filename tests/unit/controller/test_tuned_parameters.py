"""Parameters that a job gets from the measured performance of its device, and its memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleetmark_catalog.load import load_catalog
from fleetmark_catalog.resolve import expand, resolve
from fleetmark_controller.operations import campaigns
from fleetmark_controller.planning.model import JobOption, NewCampaign, NewJob
from fleetmark_core.capabilities import Capabilities
from fleetmark_core.digest import sha256_hex
from fleetmark_core.lockfile import BlobRef, Lockfile
from fleetmark_core.order import Order, parse_order
from fleetmark_core.resource_model import Run, predict
from tests.support.stores import TestStore

CATALOG = load_catalog()
HARNESS = BlobRef("fleetmark_harness-1.0.0-py3-none-any.whl", "0" * 64, 1000)
FIND = "find-performance"


class Device:
    """A store with one idle device, on which jobs of one lock run at once."""

    def __init__(self, path: Path, facts: Capabilities) -> None:
        self.store = TestStore(path, facts)
        self.store.hello("d1")
        lock = resolve(CATALOG, expand(CATALOG, "fashion-mnist")[0], facts, HARNESS).lock
        assert lock is not None
        self.lock: Lockfile = lock
        self.digest = sha256_hex(lock.canonical())
        self.count = 0

    def order(self, mode: str = "performance", scenario: str = "Server", **more: Any) -> Order:
        """The order that such a job is given; its run is not stored yet."""
        self.count += 1
        digest = more.pop("lock", self.digest)
        configuration = {
            "scenario": scenario,
            "mode": mode,
            "profile": more.pop("profile", "quick"),
            "parameters": more,
        }
        new = NewJob(
            *(f"job-{self.count}", "label", configuration, "key", 1, 0, 60.0),
            *("2099-01-01T00:00:00.000Z", 3),
            options=(JobOption("d1", digest, 100, 1000, 500, 60, 7),),
        )
        campaign = NewCampaign(f"campaign-{self.count}", "b", "", "quick", {})
        content = {digest: self.lock.canonical()}
        self.store.run(lambda c, fx, now: campaigns.submit(c, fx, now, campaign, [new], content))
        (key,) = self.store.assign("d1")
        connection = self.store.connection
        connection.execute("UPDATE attempt SET state = 'DONE'")
        connection.execute("UPDATE job SET state = 'SUCCEEDED' WHERE state = 'ACTIVE'")
        (data,) = connection.execute(
            "SELECT order_document FROM attempt WHERE job_id = ?", (key.job_id,)
        ).fetchone()
        return parse_order(data)

    def search(self, found: float | None, scenario: str = "Server", **more: Any) -> str:
        """A search that found this; returns the id of its run."""
        official = more.pop("official", 1)
        order = self.order(FIND, scenario, **more)
        values = {
            **dict.fromkeys(("arch", "os", "benchmark", "condition", "condition_reasons"), "x"),
            **{"run_id": f"run-{self.count:03}", "job_id": order.job_id, "epoch": order.epoch},
            **{"official": official, "device": "d1", "submittable": 0, "stored_at": "x"},
            **{"scenario": scenario, "mode": FIND, "profile": order.profile, "provenance": "{}"},
            "parameters": json.dumps(order.parameters),
            "lock_sha256": order.lock_sha256,
            "search_trace": json.dumps({"found": found}),
        }
        known = [row[1] for row in self.store.connection.execute("PRAGMA table_info(run)")]
        values = {name: value for name, value in values.items() if name in known}
        marks = ", ".join("?" * len(values))
        self.store.connection.execute(
            f"INSERT INTO run ({', '.join(values)}) VALUES ({marks})",
            tuple(values.values()),
        )
        return str(values["run_id"])


@pytest.fixture
def on(tmp_path: Path, x86_device: Capabilities) -> Device:
    return Device(tmp_path / "results.db", x86_device)


def test_the_newest_search_of_the_same_lock_device_and_parameters_counts(on: Device) -> None:
    assert on.order().parameters == {}
    on.search(3000.0)
    on.search(2500.0, min_duration_s=1.0)
    assert on.order().parameters == {"target_qps": 2500.0}
    assert on.order("TEST01").parameters == {"target_qps": 2500.0}
    assert on.order(profile_ops=True).parameters == {"target_qps": 2500.0, "profile_ops": True}
    for other in ({"threads": 2}, {"target_latency_ms": 5.0}, {"profile": "valid"}):
        assert "target_qps" not in on.order(**other).parameters
    assert "target_qps" not in on.order(lock="b" * 64).parameters
    assert on.order(target_qps=7.0).parameters == {"target_qps": 7.0}
    assert on.order("accuracy").parameters == {}
    assert on.order(FIND).parameters == {}
    on.search(4000.0, official=0)
    assert on.order().parameters == {"target_qps": 2500.0}
    # What found nothing says that the older figure does not hold any more.
    on.search(None)
    assert on.order().parameters == {}


@pytest.mark.parametrize(
    ("scenario", "name"),
    [
        ("Server", "target_qps"),
        ("Offline", "target_qps"),
        ("SingleStream", "target_latency_ms"),
        ("MultiStream", "target_latency_ms"),
    ],
)
def test_memory_is_predicted_for_what_it_is_reported(on: Device, scenario: str, name: str) -> None:
    before = on.order("performance", scenario, profile="valid")
    assert before.memory_bytes == 500
    figure = 0.5 if name == "target_latency_ms" else 2000.0
    on.search(figure, scenario, profile="valid")
    order = on.order("performance", scenario, profile="valid")
    assert order.parameters == {name: figure}
    asked = Run(scenario, "performance", "valid", {name: figure})
    pace_ns = {"SingleStream": 500_000, "MultiStream": 62_500}.get(scenario, 500_000)
    assert order.memory_bytes == predict(on.lock, asked, pace_ns).memory_bytes > 100_000_000
