"""A fake controller at the wire, and an agent as a real process."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.agent_process import AgentProcess
from tests.support.fake_controller import FakeController


@pytest_asyncio.fixture
async def controller() -> AsyncIterator[FakeController]:
    fake = FakeController()
    await fake.start()
    yield fake
    await fake.stop()


@pytest_asyncio.fixture
async def agent(tmp_path: Path, controller: FakeController) -> AsyncIterator[AgentProcess]:
    made = AgentProcess(tmp_path / "home", controller)
    made.home.mkdir()
    # Software is looked for where a test is about that.
    (made.home / "config.toml").write_text(
        "telemetry_interval_s = 0.1\nmin_free_bytes = 0\ndetect_interval_s = 0\n"
    )
    yield made
    if made.log.exists():
        print(made.output())
    if made.process is not None and made.process.returncode is None:
        await made.end(signal.SIGKILL)
    started = made.home.glob("attempts/*/started.json")
    for path in started:
        try:
            os.kill(json.loads(path.read_text())["pid"], signal.SIGTERM)
        except (ProcessLookupError, ValueError):
            continue
