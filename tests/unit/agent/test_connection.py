"""Outage reasons of a connection: each is logged when it begins, and not with every try."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fleetmark_agent.net import connection
from fleetmark_agent.net.connection import ControllerConnection
from fleetmark_agent.net.transport import Stream, TransportError
from fleetmark_agent.session.messages import Append, Appended, AttemptRef
from fleetmark_core.log import LogEvent


class Unreachable:
    """A transport on which each try fails with the next reason."""

    address = "192.0.2.1:7117"

    def __init__(self, reasons: Iterator[str]) -> None:
        self._reasons = reasons
        self.ended = asyncio.Event()

    async def connect(self) -> Stream:
        reason = next(self._reasons, None)
        if reason is None:
            self.ended.set()
            await asyncio.Event().wait()
        raise TransportError(str(reason), temporary=True)

    def download(self, sha256: str, offset: int, attempt: AttemptRef) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def upload(self, path: Path, sha256: str, size_bytes: int, device_id: str) -> None:
        raise NotImplementedError

    async def append(self, message: Append) -> Appended:
        raise NotImplementedError

    def renew(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


async def logged(
    reasons: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> list[str]:
    monkeypatch.setattr(connection, "_FIRST_DELAY_S", 0.0)
    monkeypatch.setattr(connection, "_LONGEST_DELAY_S", 0.0)
    transport = Unreachable(iter(reasons))
    link = ControllerConnection(transport, lambda event: None, lambda: None)
    with caplog.at_level(logging.WARNING, connection.__name__):
        running = asyncio.ensure_future(link.run())
        await transport.ended.wait()
        running.cancel()
    found = [
        str(record.msg.fields["error"])
        for record in caplog.records
        if isinstance(record.msg, LogEvent)
    ]
    assert link.outage == found[-1]
    return found


@pytest.mark.parametrize(
    ("reasons", "lines"),
    [
        (["a"] * 9, ["a"]),
        (["a", "a", "b", "b", "b", "c"], ["a", "b", "c"]),
        (["a", "b"] * 50, ["a", "b"]),
        ([str(number) for number in range(99)], [str(number) for number in range(16)]),
    ],
    ids=["same", "changes", "alternate", "ever new"],
)
async def test_reasons_of_one_outage(
    reasons: list[str],
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await logged(reasons, monkeypatch, caplog) == lines


async def test_a_reason_that_lasts_or_comes_back_is_logged_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connection, "_AGAIN_S", 0.0)
    assert await logged(["a", "b", "a", "a"], monkeypatch, caplog) == ["a", "b", "a", "a"]
