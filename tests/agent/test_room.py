"""Whether a job fits the board as it is now."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_process import AgentProcess
from bundles import QUICK, make_lock, make_order
from fake_controller import FakeController

from fleetmark_agent.cache.blob_cache import Cache
from fleetmark_agent.errors import Refusal
from fleetmark_agent.runner import admission
from fleetmark_agent.state.files import free_bytes
from fleetmark_core.digest import sha256_hex
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


def test_where_the_board_or_the_order_does_not_tell_nothing_is_refused(cache: Cache) -> None:
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
    with pytest.raises(
        Refusal, match=r"9\.0 GB of memory, 0 bytes available, and it needs 100.*disk"
    ):
        admission.check(
            order(9000 * MB, bundle=80 * MB, environment=15 * MB, output=5 * MB), cache, 0
        )


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"memory_bytes": 1 << 50}, "it needs 1125.9 TB of memory, "),
        ({"output_bytes": 1 << 50}, "it needs 1125.9 TB of disk, "),
        ({"memory_bytes": 1 << 50, "environment_bytes": 1 << 50}, " available, and it needs "),
    ],
)
async def test_an_agent_refuses_before_it_asks_for_anything(
    agent: AgentProcess, controller: FakeController, sizes: dict[str, int], words: str
) -> None:
    await agent.start()
    lock = make_lock(controller, QUICK)
    wanted = make_order(controller, lock, **sizes)
    key = (wanted.job_id, wanted.epoch)
    controller.offer(wanted)
    await controller.wait_for(lambda: "REFUSED" in controller.states(key))
    assert words in controller.reason(key) and "available" in controller.reason(key)
    assert controller.downloads == []
    # It goes on: one that fits is run.
    fitting = make_order(
        controller, lock, epoch=2, memory_bytes=MB, environment_bytes=MB, output_bytes=MB
    )
    controller.offer(fitting)
    final = await controller.final((fitting.job_id, fitting.epoch))
    assert final.outcome == "completed"
    assert sha256_hex(lock.canonical()) in {sha256 for sha256, _ in controller.downloads}
