"""Whether a job fits the device as it is now."""

from __future__ import annotations

import pytest

from fleetmark_core.digest import sha256_hex
from tests.support.agent_process import AgentProcess
from tests.support.bundles import QUICK, make_lock, make_order
from tests.support.fake_controller import FakeController
from tests.unit.agent.test_admission import MB


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
