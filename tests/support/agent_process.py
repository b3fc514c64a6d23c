"""Agents as real processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

from tests.support import device_tls as secure
from tests.support.fake_controller import FakeController
from tests.support.log_lines import parse_log


class AgentProcess:
    """`agent start` on a home of its own; may be killed and started again."""

    def __init__(self, home: Path, controller: FakeController) -> None:
        self.home = home
        self.controller = controller
        self.process: asyncio.subprocess.Process | None = None
        self.log = home.with_suffix(".log")
        # What lies here is seen by jobs, too: nothing else outside of their own folders is.
        self.gates = home.with_name("gates")
        self.gates.mkdir()

    async def start(self, *flags: str, wait: bool = True) -> None:
        self.controller.online.clear()
        if not (self.home / "identity" / "certificate.pem").exists():
            secure.enroll(self.home, self.controller.address)
        command = [sys.executable, "-m", "fleetmark_agent.cli", "start", "--home", str(self.home)]
        command += ["--controller", self.controller.address, "--name", "device"]
        command += ["--allow-folder", str(self.gates), *flags]
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        if wait:
            await asyncio.wait_for(self.controller.online.wait(), 60)

    async def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 60)

    def trace(self) -> list[dict[str, Any]]:
        lines = (self.home / "trace.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def output(self) -> str:
        return self.log.read_text()

    def events(self) -> list[str]:
        """Return the events that the agent has logged."""
        return [line.event for line in parse_log(self.output())] if self.log.exists() else []


def assert_no_overlap(trace: list[dict[str, Any]]) -> None:
    """Check in the device's trace that starts and ends alternate."""
    assert [line["event"] for line in trace] == ["started", "ended"] * (len(trace) // 2)
    for started, ended in zip(trace[::2], trace[1::2], strict=True):
        assert (started["job_id"], started["epoch"]) == (ended["job_id"], ended["epoch"])
