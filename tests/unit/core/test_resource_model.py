"""What jobs are predicted to need: against what they needed, and as a function of what is asked."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_catalog.load import load_catalog
from fleetmark_catalog.resolve import expand, resolve
from fleetmark_controller.planning import estimates
from fleetmark_core import model_memory, resource_model
from fleetmark_core.capabilities import Memory, Storage
from fleetmark_core.lockfile import Lockfile
from fleetmark_core.resource_model import ResourceNeeds, Run, predict, shortages
from fleetmark_harness import calibrate, find_performance, settings
from tests.support.sample_devices import HARNESS, sample_device

CATALOG = load_catalog()
# On x86-64 Linux, Python 3.11, two cores; every runtime, the largest models, long runs.
MEASURED = list(
    csv.DictReader((Path(__file__).parent / "measured_memory.csv").open(newline=""), delimiter=";")
)
GB = 1_000_000_000


def lock_of(benchmark: str, *words: str) -> Lockfile:
    configuration = expand(CATALOG, benchmark, variations=words)[0]
    lock = resolve(CATALOG, configuration, sample_device(), HARNESS).lock
    assert lock is not None
    return lock


FASHION = lock_of("fashion-mnist")


def run(scenario: str = "SingleStream", mode: str = "performance", **more: Any) -> Run:
    return Run(scenario, mode, more.pop("profile", "quick"), more)


@pytest.mark.parametrize(
    "row", MEASURED, ids=lambda r: f"{r['benchmark']} {r['words']} {r['scenario']} {r['mode']}"
)
def test_the_prediction_is_a_bound_and_not_far_above(row: dict[str, str]) -> None:
    lock = lock_of(row["benchmark"], *row["words"].split())
    parameters = json.loads(row["parameters"])
    asked = Run(row["scenario"], row["mode"], "quick", parameters)
    measured = int(row["peak_memory_bytes"])
    known = predict(lock, asked, int(row["calibrated_ns"])).memory_bytes
    assert measured <= known < 3 * measured
    if "min_duration_s" not in parameters and int(row["calibrated_ns"]) > 10_000:
        # So short a run has few queries, whatever is assumed of the speed.
        assert measured <= predict(lock, asked).memory_bytes < 3 * measured


def test_loadgens_queries_follow_from_profile_and_latency() -> None:
    # 600 s at 0.12 ms: twice 5 million queries over the margin of 1.4, taken for a quarter quicker.
    needs = predict(FASHION, run(profile="valid"), 120_000)
    assert needs.queries == int(2 * 600 / (0.75 * 120e-6) / 1.4)
    assert needs.queries * 370 / GB == pytest.approx(3.52, abs=0.01)
    assert 0 < needs.memory_bytes - needs.queries * 370 - int(needs.queries * 0.7) * 40 < 0.1 * GB
    assert needs.latency_measured and needs.latency_ns == 90_000
    # Unknown: as quick as can be.
    assumed = predict(FASHION, run(profile="valid"))
    assert (assumed.latency_ns, assumed.latency_measured) == (20_000, False)
    assert assumed.memory_bytes > 15 * GB
    # Accuracy runs see each sample once, however long the profile.
    assert predict(FASHION, run(mode="accuracy", profile="valid")).queries == 1000
    # The profile's minimum counts where the model is slow.
    assert predict(FASHION, run("Offline", profile="valid"), 10**9).queries == 24_576
    assert predict(FASHION, run(), 10**9).queries == 100


def test_a_duration_that_is_asked_for_replaces_the_profiles() -> None:
    ten = predict(FASHION, run(min_duration_s=10.0), 100_000)
    one = predict(FASHION, run(), 100_000)
    assert ten.queries == pytest.approx(10 * one.queries, rel=0.01)


def test_it_counts_as_the_harness_does() -> None:
    assert resource_model.LATENCY_MARGIN == settings._LATENCY_MARGIN
    assert pytest.approx(1.1 * settings._RATE_MARGIN) == resource_model.RATE_MARGIN
    assert model_memory.CALIBRATION_SAMPLES == calibrate._KEPT_SAMPLES
    assert resource_model.SERVER_SHARE == settings._SERVER_SHARE
    assert resource_model.FIND_LONGEST_NS == find_performance.LONGEST_MS * 1_000_000
    assert resource_model.FIND_SHARE == find_performance._ABOVE
    assert estimates.FIND_LONGEST_MS == find_performance.LONGEST_MS
    assert estimates.FIND_TESTS == find_performance.REPEATS


def test_what_loadgen_is_reported_counts_and_not_what_the_model_takes() -> None:
    valid = {"profile": "valid", "mode": "performance"}
    # 600 s at 5,000 a second, of which LoadGen makes twice as many.
    reported = predict(FASHION, run("Server", target_qps=5000.0, **valid), 100_000)
    assert reported.queries == 2 * 600 * 5000
    assert reported.memory_bytes > reported.queries * 370
    reported = predict(FASHION, run("Offline", target_qps=5000.0, **valid), 100_000)
    assert reported.queries == int(600 * 5000 * 1.1 * 1.1)
    reported = predict(FASHION, run(target_latency_ms=0.2, **valid), 100_000)
    assert reported.queries == 2 * 600 * 5000
    reported = predict(FASHION, run("MultiStream", target_latency_ms=0.8, **valid), 100_000)
    assert reported.queries == 2 * 600 * 1250


@pytest.mark.parametrize("scenario", ["SingleStream", "MultiStream", "Server", "Offline"])
def test_a_search_needs_what_its_short_tests_do(scenario: str) -> None:
    search = predict(FASHION, run(scenario, mode="find-performance", profile="valid"), 100_000)
    whole = predict(FASHION, run(scenario, profile="valid"), 100_000)
    assert search.memory_bytes < whole.memory_bytes / 5
    reasons = shortages(whole, 0, sample_device(memory=1 << 30))
    assert "of memory" in reasons[0] and "available" in reasons[0]
    assert not shortages(search, 0, sample_device(memory=1 << 30))


def test_disk_is_bundle_environment_and_output() -> None:
    needs = predict(FASHION, run(mode="accuracy"))
    wheels = sum(wheel.size_bytes for wheel in FASHION.environment.wheels)
    assert needs.environment_bytes == int(4.5 * wheels)
    assert needs.output_bytes == 2 * (1_000_000 + 1000 * 110)
    whole = FASHION.size_bytes() + needs.environment_bytes + needs.output_bytes
    assert resource_model.disk_bytes(needs, FASHION.size_bytes()) == whole


def test_every_runtime_of_the_catalog_says_what_it_takes() -> None:
    for package in CATALOG.all("package"):
        assert ("adapter" in package.body) == ("memory_bytes" in package.body), package.id


NOT_FOR_LOADGEN = dataclasses.replace(FASHION, job={"answer": 42}, inputs={})


def test_a_program_of_any_other_kind_is_taken_for_a_small_one() -> None:
    needs = predict(NOT_FOR_LOADGEN, run())
    assert needs.memory_bytes == resource_model.PYTHON_BYTES
    assert needs.queries == needs.latency_ns == 0


LATENCY = st.integers(1, 10**10)


@given(LATENCY, LATENCY, st.floats(0.05, 3600), st.floats(0.05, 3600))
def test_longer_and_quicker_never_needs_less(
    latency_a: int, latency_b: int, duration_a: float, duration_b: float
) -> None:
    quick, slow = sorted((latency_a, latency_b))
    short, long = sorted((duration_a, duration_b))
    for scenario in ("SingleStream", "Offline"):
        more = predict(FASHION, run(scenario, min_duration_s=long), quick)
        less = predict(FASHION, run(scenario, min_duration_s=short), slow)
        assert more.memory_bytes >= less.memory_bytes
        assert more.output_bytes >= less.output_bytes


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_larger_batches_never_need_less(one: int, other: int) -> None:
    small, large = sorted((one, other))
    few = predict(FASHION, run("Offline", batch_size=small), 100_000)
    many = predict(FASHION, run("Offline", batch_size=large), 100_000)
    assert few.memory_bytes <= many.memory_bytes
    # In SingleStream samples come one by one.
    assert predict(FASHION, run(batch_size=large)) == predict(FASHION, run(batch_size=small))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
TABLES = st.fixed_dictionaries(
    {
        name: JSON
        | st.fixed_dictionaries(
            {},
            optional={
                "input": st.fixed_dictionaries({}, optional={"dtype": JSON}),
                "samples": JSON,
                "performance_samples": JSON,
                "arena_bytes": JSON,
                "memory_bytes": JSON,
                "layout": JSON,
                "profiles": JSON,
            },
        )
        for name in ("model", "dataset", "runtime", "benchmark", "loadgen", "defaults")
    }
)


@given(TABLES, st.integers(0, 10**12))
def test_strange_tables_give_figures_and_no_error(tables: dict[str, Any], latency_ns: int) -> None:
    needs = predict(dataclasses.replace(FASHION, job=tables), run("Offline"), latency_ns)
    assert min(needs.memory_bytes, needs.environment_bytes, needs.output_bytes) >= 0


FACTS = sample_device()
NEEDS = ResourceNeeds(
    memory_bytes=300_000_000, environment_bytes=100_000_000, output_bytes=2_000_000
)


@pytest.mark.parametrize(
    ("memory", "reasons"),
    [
        (Memory(8 * GB, 0), []),
        (Memory(396_000_000, 0), []),
        (Memory(395_000_000, 0), ["it needs 300.0 MB of memory, 299.0 MB available"]),
        (Memory(8 * GB, 0, 200_000_000), ["it needs 300.0 MB of memory, 104.0 MB available"]),
        (Memory(8 * GB, 8 * GB, 10), ["it needs 300.0 MB of memory, 0 bytes available"]),
    ],
)
def test_memory_that_a_limit_leaves_and_others_need(memory: Memory, reasons: list[str]) -> None:
    assert shortages(NEEDS, 50_000_000, dataclasses.replace(FACTS, memory=memory)) == reasons


@pytest.mark.parametrize(
    ("free", "cache", "reasons"),
    [
        (220_000_000, 0, []),
        (219_000_000, 0, ["it needs 152.0 MB of disk, 151.9 MB available"]),
        (100_000_000, 130_000_000, []),
        (0, 0, ["it needs 152.0 MB of disk, 0 bytes available"]),
    ],
)
def test_the_cache_counts_as_free(free: int, cache: int, reasons: list[str]) -> None:
    facts = dataclasses.replace(FACTS, storage=Storage(10 * GB, free, cache))
    assert shortages(NEEDS, 50_000_000, facts) == reasons


def test_the_reason_says_where_so_much_comes_from_and_what_to_do() -> None:
    needs = predict(FASHION, run(profile="valid"))
    (reason,) = shortages(needs, FASHION.size_bytes(), sample_device(memory=4 * GB))
    assert reason == (
        "it needs 17.1 GB of memory (LoadGen makes 42,857,142 queries beforehand, at assumed "
        "0.02 ms each; a run with --profile quick measures it), 3.9 GB available"
    )
    needs = predict(FASHION, run(profile="valid"), 100_000)
    (reason,) = shortages(needs, FASHION.size_bytes(), sample_device(memory=2 * GB))
    assert "queries beforehand, at measured 0.075 ms each), 1.9 GB available" in reason
