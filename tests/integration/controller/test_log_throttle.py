"""Log lines of what many devices do at once."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fleetmark_controller.api.log_throttle import BurstLogger
from fleetmark_core.log import get_logger


async def test_the_first_are_named_and_the_others_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    crowd = BurstLogger(get_logger("fleetmark.session"), "connected", window_s=0.05)
    for number in range(500):
        crowd.note(f"device{number}", "id")
    await asyncio.sleep(0.2)
    crowd.note("device500", "id")
    output = [record.getMessage() for record in caplog.records]
    assert output[0] == "device connected device=device0 device_id=id"
    assert output[19:] == [
        "device connected device=device19 device_id=id",
        'more devices connected count=480 hint="The view events lists all"',
        "device connected device=device500 device_id=id",
    ]
    await asyncio.sleep(0.2)
    assert len(caplog.records) == len(output), "of one there is nothing more to say"
