"""Starts a program on a home and reads its report."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import BIN, environment, free_port

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Homes:
    """Homes of a controller and of a device that belonged to it; both have stopped."""

    controller: Path
    agent: Path


@dataclass(frozen=True)
class End:
    """How a program took it: `code` is None if it serves."""

    code: int | None
    output: str


def start(program: str, home: Path) -> End:
    """Run it until it ends or serves; an agent without a controller gives up after a second."""
    address = f"127.0.0.1:{free_port()}"
    words = {
        "controller": ["serve", "--listen", address],
        "agent": ["start", "--once", "--name", "bench1", "--controller", address],
    }[program]
    child = subprocess.Popen(
        [str(BIN / program), *words, "--home", str(home)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        first = child.stdout.readline() if program == "controller" else ""
        if first:
            assert first.startswith("Controller ready"), first
            child.terminate()
        _, output = child.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        pytest.fail(f"{program} neither ended nor served: {child.communicate()}")
    finally:
        child.stdout.close()
    return End(None if first else child.returncode, output)


def last_line(end: End, program: str) -> str:
    """Return the line that gives the reason of the end, the only one that is not a log line."""
    lines = [line for line in end.output.splitlines() if line and not line.startswith("{")]
    assert len(lines) == 1, end.output
    assert lines[0].startswith(f"{program}: "), end.output
    return lines[0]
