"""Unit tests decide nothing by processes, sockets or waiting: here these raise."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest

_FORBIDDEN = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.posix_spawn",
        "socket.bind",
        "socket.connect",
        "subprocess.Popen",
        "time.sleep",
    }
)


class _Guard:
    """Whether a unit test runs now."""

    active = False


def _audit(event: str, _arguments: tuple[Any, ...]) -> None:
    if _Guard.active and event in _FORBIDDEN:
        raise AssertionError(f"a unit test may not use {event}: move it to tests/integration")


# An audit hook cannot be taken back: it is switched on for each unit test alone.
sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def no_processes_sockets_or_sleeps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse what makes a test slow or dependent on the machine."""
    sleep = asyncio.sleep

    async def only_yield(delay: float, result: Any = None) -> Any:
        assert not delay, "a unit test may not sleep: move it to tests/integration"
        return await sleep(0, result)

    monkeypatch.setattr(asyncio, "sleep", only_yield)
    _Guard.active = True
    try:
        yield
    finally:
        _Guard.active = False
