"""Whether a job fits the device as it is now."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetmark_agent.cache.blob_cache import Cache
from fleetmark_agent.errors import Refusal
from fleetmark_agent.runner import admission
from fleetmark_agent.state.files import free_bytes
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.order import Order

MB = 1_000_000


def order(memory: int = 0, environment: int = 0, output: int = 0, bundle: int = 0) -> Order:
    return Order(
        *(1, "d", "c", "j", 1, "0" * 64, 1, bundle, "SingleStream", "performance", "quick", 60.0),
        memory_bytes=memory,
        environment_bytes=environment,
        output_bytes=output,
    )


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", 1 << 40, 0)


def test_memory_that_is_free_now_counts_less_what_the_helpers_take(cache: Cache) -> None:
    admission.check(order(memory=200 * MB), cache, 232 * MB)
    with pytest.raises(Refusal) as caught:
        admission.check(order(memory=200 * MB), cache, 231 * MB)
    assert caught.value.reason == "it needs 200.0 MB of memory, 199.0 MB available"
    assert not caught.value.retryable
    assert caught.value.cause is FailureCause.JOB, "the device is not defective"


def test_the_memory_that_the_settings_allow_counts(cache: Cache) -> None:
    """Else the job would be ended by its sandbox, after its blobs were sent."""
    admission.check(order(memory=200 * MB), cache, 1000 * MB, 200 * MB)
    with pytest.raises(Refusal) as caught:
        admission.check(order(memory=200 * MB), cache, 1000 * MB, 199 * MB)
    assert caught.value.reason == (
        "it needs 200.0 MB of memory, 199.0 MB available to a job (job_memory_bytes in config.toml)"
    )
    assert caught.value.cause is FailureCause.JOB


def test_no_job_is_refused_if_the_device_or_the_order_lacks_the_figure(cache: Cache) -> None:
    admission.check(order(memory=1 << 60), cache, None)
    admission.check(order(bundle=1 << 60), cache, 0)


def test_the_whole_cache_counts_as_room(cache: Cache) -> None:
    held = cache.root / "blobs" / "partial" / "old"
    held.parent.mkdir(parents=True)
    held.write_bytes(bytes(40 * MB))
    free = free_bytes(cache.root)
    cache.min_free_bytes = free - 10 * MB
    admission.check(order(bundle=20 * MB, environment=15 * MB, output=5 * MB), cache, None)
    with pytest.raises(Refusal) as caught:
        admission.check(order(bundle=80 * MB, environment=15 * MB, output=5 * MB), cache, 0)
    assert caught.value.reason.startswith("it needs 100.0 MB of disk, ")
    assert caught.value.cause is FailureCause.DEVICE
    with pytest.raises(
        Refusal, match=r"9\.0 GB of memory, 0 bytes available, and it needs 100.*disk"
    ):
        admission.check(
            order(9000 * MB, bundle=80 * MB, environment=15 * MB, output=5 * MB), cache, 0
        )
