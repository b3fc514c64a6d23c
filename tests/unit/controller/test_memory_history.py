"""Predictions of memory by earlier runs: bounds that grow with the batch, and their source."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetmark_catalog.load import load_catalog
from fleetmark_catalog.resolve import expand, resolve
from fleetmark_controller.lifecycle.retry_policy import AttemptOutcome
from fleetmark_controller.operations import results
from fleetmark_controller.operations.results import Evaluation
from fleetmark_controller.planning.campaign_request import CampaignRequest
from fleetmark_controller.planning.device import Device
from fleetmark_controller.planning.memory_history import (
    MemoryKey,
    MemoryPeak,
    parse_run,
    predict_from_history,
    run_text,
)
from fleetmark_controller.planning.plan import make_plan
from fleetmark_controller.planning.resources import memory_key
from fleetmark_controller.store.db.migrations import m0019_memory_peaks
from fleetmark_controller.store.devices import device_admin
from fleetmark_controller.store.results import memory_peaks
from fleetmark_controller.store.results.memory_peaks import MemoryPeakIndex
from fleetmark_core.capabilities import Capabilities, Memory
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.resource_model import MemorySource, Run, predict
from tests.support.examples import examples
from tests.support.sample_devices import HARNESS, sample_device
from tests.support.stores import LOCK, TestStore, sealed

CATALOG = load_catalog()
CONFIGURATION = expand(CATALOG, "fashion-mnist")[0]
FASHION = resolve(CATALOG, CONFIGURATION, sample_device(), HARNESS).lock
assert FASHION is not None
GB = 1_000_000_000
LATENCY_NS = 100_000


def offline(batch: int, **more: Any) -> Run:
    return Run("Offline", more.pop("mode", "performance"), "quick", {"batch_size": batch, **more})


def memory(run: Run, *peaks: MemoryPeak) -> int:
    assert FASHION is not None
    return predict_from_history(FASHION, run, LATENCY_NS, peaks).memory_bytes


def source(run: Run, *peaks: MemoryPeak) -> MemorySource:
    assert FASHION is not None
    return predict_from_history(FASHION, run, LATENCY_NS, peaks).memory_source


BATCH = st.integers(1, 4096)
PEAKS = st.lists(
    st.builds(
        MemoryPeak,
        st.builds(
            offline,
            BATCH,
            mode=st.sampled_from(["performance", "accuracy"]),
            threads=st.sampled_from([1, 2]),
        ),
        st.integers(1, 64 * GB),
        st.booleans(),
    ),
    max_size=6,
)


@given(BATCH, BATCH, PEAKS)
def test_a_larger_batch_never_needs_less(one: int, other: int, peaks: list[MemoryPeak]) -> None:
    small, large = sorted((one, other))
    assert memory(offline(small, threads=1), *peaks) <= memory(offline(large, threads=1), *peaks)


@given(PEAKS.filter(bool), st.data())
def test_the_greatest_peak_of_equal_runs_is_a_lower_bound(
    peaks: list[MemoryPeak], data: st.DataObject
) -> None:
    run = data.draw(st.sampled_from(peaks)).run
    equal = [peak for peak in peaks if run_text(peak.run) == run_text(run)]
    predicted = memory(run, *peaks)
    assert predicted >= max(peak.peak_bytes for peak in equal)
    killed = [peak.peak_bytes for peak in equal if peak.killed]
    assert all(predicted > limit for limit in killed)


@given(PEAKS, st.integers(1, 64 * GB), BATCH, BATCH)
def test_a_killed_run_raises_the_bound_above_its_limit(
    peaks: list[MemoryPeak], limit: int, batch: int, more: int
) -> None:
    killed = MemoryPeak(offline(batch), limit, killed=True)
    before, after = memory(offline(batch), *peaks), memory(offline(batch), *peaks, killed)
    assert after > limit and after >= before
    assert memory(offline(batch + more), *peaks, killed) > limit


@given(st.integers(1, 64 * GB), BATCH, st.integers(0, 4095))
def test_a_killed_run_says_nothing_about_smaller_batches(limit: int, batch: int, less: int) -> None:
    small = max(1, batch - less)
    killed = MemoryPeak(offline(batch + 1), limit, killed=True)
    assert memory(offline(small), killed) == memory(offline(small))


@given(st.integers(1, 64 * GB), BATCH)
def test_a_killed_run_says_nothing_about_other_parameters(limit: int, batch: int) -> None:
    other = replace(offline(batch), parameters={**offline(batch).parameters, "threads": 7})
    assert memory(offline(batch), MemoryPeak(other, limit, killed=True)) == memory(offline(batch))


def test_a_measured_peak_replaces_the_estimate() -> None:
    estimate = memory(offline(1))
    assert source(offline(1)) is MemorySource.ESTIMATED
    for peak in (estimate // 2, 4497_000_000):
        predicted = memory(offline(1), MemoryPeak(offline(1), peak))
        assert peak < predicted < 1.15 * peak + 0.02 * GB
        assert source(offline(1), MemoryPeak(offline(1), peak)) is MemorySource.MEASURED


def test_a_model_that_exceeded_its_estimate_does_so_in_other_runs_too() -> None:
    exceeded = MemoryPeak(offline(1), 4497_000_000)
    for run in (offline(1, mode="accuracy"), Run("SingleStream", "performance", "quick", {})):
        assert memory(run, exceeded) > 4 * GB
        assert source(run, exceeded) is MemorySource.MEASURED
    within = MemoryPeak(offline(1), 50_000_000)
    single = Run("SingleStream", "performance", "quick", {})
    assert memory(single, within) == memory(single)
    assert source(single, within) is MemorySource.ESTIMATED


def test_a_default_that_is_given_is_the_same_run() -> None:
    assert FASHION is not None
    defaults = FASHION.job["defaults"]
    peak = MemoryPeak(Run("Offline", "performance", "quick", dict(defaults)), 5 * GB)
    assert memory(Run("Offline", "performance", "quick", {}), peak) >= 5 * GB


def test_a_run_survives_as_text() -> None:
    run = offline(3, threads=2)
    assert parse_run(run_text(run)) == run
    assert run_text(offline(3, threads=2)) == run_text(
        Run("Offline", "performance", "quick", {"threads": 2, "batch_size": 3})
    )


# The store


@pytest.fixture
def store(tmp_path: Path, x86_device: Capabilities) -> TestStore:
    store = TestStore(tmp_path / "results.db", x86_device)
    store.hello()
    store.hello("d2")
    return store


KEY = MemoryKey(LOCK, "x86_64", 4)


@settings(max_examples=examples(20), deadline=None)  # each example makes a store
@given(st.lists(st.tuples(BATCH, st.integers(1, GB), st.booleans()), max_size=12), st.data())
def test_the_index_knows_the_greatest_peak_of_each_run(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, bool]],
    data: st.DataObject,
) -> None:
    store = TestStore(tmp_path_factory.mktemp("s") / "results.db", sample_device())
    index, greatest = MemoryPeakIndex(), dict[tuple[int, bool], int]()
    for batch, peak, killed in rows:
        found = MemoryPeak(offline(batch % 3), peak, killed)
        store.run(lambda c, _fx, _now, found=found: memory_peaks.add(c, KEY, found))  # type: ignore[misc]
        name = (batch % 3, killed)
        greatest[name] = max(peak, greatest.get(name, 0))
        if data.draw(st.booleans()):
            index.all_peaks(store.connection)
    expected = {(offline(b).parameters["batch_size"], k, p) for (b, k), p in greatest.items()}

    def plain(peaks: Any) -> set[tuple[int, bool, int]]:
        return {(p.run.parameters["batch_size"], p.killed, p.peak_bytes) for p in peaks}

    assert plain(index.all_peaks(store.connection).get(KEY, ())) == expected
    assert plain(memory_peaks.of_key(store.connection, KEY)) == expected
    other = dataclasses.replace(KEY, cores=8)
    assert memory_peaks.of_key(store.connection, other) == []
    assert other not in index.all_peaks(store.connection)


def finish(store: TestStore, evaluation: Evaluation) -> str:
    ((key),) = store.assign("d1")
    store.run(lambda c, fx, now: results.append(c, fx, now, key, sealed(outcome="failed")))
    store.run(lambda c, fx, now: results.finalise(c, fx, now, key, f"r{key.epoch}", evaluation))
    return store.state(key.job_id)


LACK = Evaluation(
    AttemptOutcome.FAILED,
    "out of memory",
    cause=FailureCause.JOB,
    memory=(KEY, MemoryPeak(offline(1), GB, killed=True)),
    out_of_memory=True,
)


def test_a_job_out_of_memory_is_tried_on_another_device_only(store: TestStore) -> None:
    store.submit("d1", "d2")
    assert finish(store, LACK) == "QUEUED"
    assert store.assign("d1") == []
    ((key),) = store.assign("d2")
    assert key.device_id == "d2"
    (stored,) = memory_peaks.of_key(store.connection, KEY)
    assert (stored.killed, stored.peak_bytes) == (True, GB)


def test_a_pinned_job_out_of_memory_fails_at_once(store: TestStore) -> None:
    store.submit("d1")
    assert finish(store, LACK) == "FAILED"
    (reason,) = store.connection.execute("SELECT reason FROM job").fetchone()
    assert "not retried: it would run out of memory again" in reason
    assert not device_admin.quarantined(store.connection, 1)


def test_runs_that_are_stored_already_count(store: TestStore) -> None:
    store.submit("d1")
    ((key),) = store.assign("d1")
    order = {"parameters": {"batch_size": 3}}
    facts = {"cpu": {"usable_cores": 4}}
    values = {
        **{"device": "d1", "arch": "x86_64", "os": "Debian", "benchmark": "b", "stored_at": "now"},
        **{"scenario": "Offline", "mode": "performance", "profile": "quick", "submittable": False},
        **{"parameters": {}, "condition_reasons": [], "lock_sha256": LOCK},
        **{"provenance": {"order": order, "capabilities": facts}, "peak_memory_bytes": GB},
    }
    store.run(lambda c, fx, now: results.append(c, fx, now, key, sealed()))
    valid = Evaluation(AttemptOutcome.VALID, "", False, values)
    store.run(lambda c, fx, now: results.finalise(c, fx, now, key, "r", valid))
    assert memory_peaks.of_key(store.connection, KEY) == []
    store.connection.execute(m0019_memory_peaks._STATEMENTS[-1])
    (peak,) = memory_peaks.of_key(store.connection, KEY)
    assert (peak.run, peak.peak_bytes, peak.killed) == (offline(3), GB, False)


# The plan


def device(name: str, facts: Capabilities, total: int, cores: int = 4) -> Device:
    cpu = dataclasses.replace(facts.cpu, usable_cores=cores)
    facts = dataclasses.replace(facts, memory=Memory(total, 0), cpu=cpu)
    return Device(name, name, {}, facts, "0.1.0", "boot", "", "")


def test_what_one_device_has_shown_protects_like_devices(x86_device: Capabilities) -> None:
    small, large = device("small", x86_device, 2 * GB), device("large", x86_device, 16 * GB)
    unlike = device("unlike", x86_device, 2 * GB, cores=8)
    request = CampaignRequest(
        "c", "fashion-mnist", scenarios=("SingleStream",), modes=("performance",)
    )
    devices = [small, large, unlike]
    first = make_plan(CATALOG, request, devices, HARNESS, 0)
    assert {(p.device, p.memory_source) for p in first.jobs} == {
        ("small", "estimated"),
        ("large", "estimated"),
        ("unlike", "estimated"),
    }
    ((digest),) = first.locks
    run = Run("SingleStream", "performance", "quick", dict(CONFIGURATION.parameters))
    history = {memory_key(digest, large.capabilities): (MemoryPeak(run, 4497_000_000),)}
    plan = make_plan(CATALOG, request, devices, HARNESS, 0, history=history)
    assert {(p.device, p.memory_source) for p in plan.jobs} == {
        ("large", "measured"),
        ("unlike", "estimated"),
    }
    ((name, reason),) = plan.left_out
    assert name == "small"
    assert "it needs 4.9 GB of memory (known from earlier runs on like devices)" in reason


# The first run


def test_a_declared_footprint_is_a_bound_of_the_first_run() -> None:
    assert FASHION is not None
    model = {**FASHION.job["model"], "footprint": {"peak_memory_bytes": 4497_000_000, "batch": 1}}
    declared = dataclasses.replace(FASHION, job={**FASHION.job, "model": model})
    needs = predict(declared, offline(1))
    assert needs.memory_bytes >= 4497_000_000
    assert needs.memory_source is MemorySource.DECLARED
    assert predict(declared, offline(2)).memory_bytes >= 2 * 4_200_000_000
    model["footprint"] = {"peak_memory_bytes": 4497_000_000, "batch": 32}
    assert predict(declared, offline(1)).memory_bytes < GB
    assert predict(declared, offline(32)).memory_bytes >= 4497_000_000


@given(st.sampled_from(["SingleStream", "MultiStream", "Server", "Offline"]), BATCH, BATCH, BATCH)
def test_a_batch_that_the_graph_fixes_is_computed_as_a_whole(
    scenario: str, fixed: int, one: int, other: int
) -> None:
    assert FASHION is not None
    body = FASHION.job["model"]
    model = {**body, "input": {**body["input"], "batch": fixed}}
    lock = dataclasses.replace(FASHION, job={**FASHION.job, "model": model})
    small, large = sorted((one, other))

    def needs(lock: Any, batch: int) -> int:
        run = dataclasses.replace(offline(batch), scenario=scenario)
        return predict(lock, run, LATENCY_NS).memory_bytes

    assert needs(lock, small) <= needs(lock, large)
    assert needs(lock, small) >= needs(FASHION, small)
    if scenario in ("SingleStream", "Server") and fixed > 1:
        assert needs(lock, small) > needs(FASHION, small)
