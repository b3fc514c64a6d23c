"""Log lines of what many devices do at once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fleetmark_controller.api.log_throttle import BurstLogger


async def test_the_first_are_named_and_the_others_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    crowd = BurstLogger(logging.getLogger("fleetmark.session"), "connected", window_s=0.05)
    for number in range(500):
        crowd.note(f"board{number} (id)")
    await asyncio.sleep(0.2)
    crowd.note("board500 (id)")
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "device board0 (id) connected"
    assert said[19:] == [
        "device board19 (id) connected",
        "480 more devices connected; see the events",
        "device board500 (id) connected",
    ]
    await asyncio.sleep(0.2)
    assert len(caplog.records) == len(said), "of one there is nothing more to say"
