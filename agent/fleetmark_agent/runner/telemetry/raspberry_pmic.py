"""Power of a Raspberry Pi 5 by the voltages and currents of its power controller (PMIC).

`vcgencmd pmic_read_adc` prints a current and a voltage for each of twelve rails. They supply the
SoC, its memory and the radio. What hangs on the 5 V input is not among them: USB, NVMe, HATs and
the losses of the converter. So the sum never covers the whole device.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from fleetmark_agent.fingerprint.raspberry_pi import vcgencmd
from fleetmark_agent.fingerprint.sysfs import printable
from fleetmark_agent.runner.telemetry.power_source import POWER, SOC, PowerSupply
from fleetmark_core import subprocesses

NAME = "pmic rails"
PAUSE_S = 1.0
"""Pause between two calls of the program: each takes about 10 ms of a core."""
_LIMIT_S = 2.0
_MOST_FAILURES = 3
"""After so many failures in succession the program is not called again."""
_READING = re.compile(
    r"^\s*(\w{1,40})_([AV]) (?:current|volt)\(\d+\)=(\d+\.\d+)[AV]\s*$", re.MULTILINE
)


def source(
    root: Path, clock: Callable[[], float] = time.monotonic
) -> tuple[PowerSupply | None, str]:
    """Return the source if the device has one, or the reason why it cannot be read.

    Both are empty on a device without such a controller.
    """
    program = vcgencmd(root)
    if program is None:
        return None, ""
    ran = subprocesses.run_tool([str(program), "pmic_read_adc"], _LIMIT_S)
    if microwatts(ran.output) is not None and not ran.fault:
        reader = _Reader(program, clock)
        return PowerSupply(NAME, SOC, POWER, 1e-6, reader.read, read_last=reader.read_now), ""
    text = f"{ran.errors}\n{ran.output}"
    if not ran.fault or "not registered" in text:
        # The firmware of other models does not know the command.
        return None, ""
    return None, f"vcgencmd pmic_read_adc: {printable(text, 200) or ran.fault}"


def microwatts(output: str) -> int | None:
    """Return the power of all rails whose current and voltage the program printed."""
    readings: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for rail, kind, value in _READING.findall(output):
        readings[kind][rail] = float(value)
    rails = readings["A"].keys() & readings["V"].keys()
    if not rails:
        return None
    return round(sum(readings["A"][rail] * readings["V"][rail] for rail in rails) * 1e6)


class _Reader:
    """Reader that calls the program at most once per `PAUSE_S`; no value in between."""

    def __init__(self, program: Path, clock: Callable[[], float]) -> None:
        self._program = program
        self._clock = clock
        self._due_s = 0.0
        self._failures = 0

    def read(self) -> int | None:
        return None if self._clock() < self._due_s else self.read_now()

    def read_now(self) -> int | None:
        if self._failures >= _MOST_FAILURES:
            return None
        ran = subprocesses.run_tool([str(self._program), "pmic_read_adc"], _LIMIT_S)
        self._due_s = self._clock() + PAUSE_S
        found = None if ran.fault else microwatts(ran.output)
        self._failures = self._failures + 1 if found is None else 0
        return found
