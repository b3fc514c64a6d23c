"""Sustained runs and start temperatures: what a request for them means for its jobs. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from fleetmark_core.capabilities import Capabilities
from fleetmark_core.errors import ErrorKind, FleetmarkError

if TYPE_CHECKING:
    from fleetmark_catalog.resolve import Configuration

SCENARIOS = ("SingleStream", "MultiStream", "Offline")
"""In Server the arrival of queries decides the throughput, so that throttling does not show."""
SOC_TEMPERATURE = "soc-temperature"
"""Kind of the sensors that the agent trusts as the temperature of the SoC."""
MODE, DURATION = "performance", "min_duration_s"
"""Mode of a sustained run, and the parameter that has its length."""
_PREPARING_S, _SLOWER = 600.0, 1.2
"""Time for calibration and results, and margin for the last queries of a throttled device."""


def check_request(
    sustain_s: float,
    modes: Collection[str],
    scenarios: Collection[str],
    parameters: Collection[str],
    timeout_s: float,
) -> None:
    """Check that no option of a request contradicts a sustained run.

    Args:
        sustain_s: length of each run.
        modes: the requested modes.
        scenarios: the requested scenarios.
        parameters: the names of the requested parameters.
        timeout_s: the requested time limit; 0: none.

    Raises:
        FleetmarkError: USAGE: an option contradicts it.
    """
    for given, advice in (
        (set(modes) - {MODE}, "Omit --mode"),
        (DURATION in parameters, f"Omit --param {DURATION}"),
        (set(scenarios) - set(SCENARIOS), "Omit Server from --scenario"),
    ):
        if given:
            raise FleetmarkError(
                ErrorKind.USAGE,
                "a sustained run is a performance run of the given length in SingleStream, "
                "MultiStream or Offline",
                "--sustain",
                advice,
            )
    if 0 < timeout_s <= sustain_s:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"the time limit of {timeout_s:g} s ends a run of {sustain_s:g} s",
            "--timeout",
            "Omit --timeout, or raise it",
        )


def check_scenarios(configurations: Iterable[Configuration], sustain_s: float) -> None:
    """Check that the series of each sustained run can be recorded.

    Raises:
        FleetmarkError: USAGE: a configuration runs in another scenario.
    """
    others = sorted({c.scenario for c in configurations} - set(SCENARIOS)) if sustain_s else []
    if others:
        raise FleetmarkError(
            ErrorKind.USAGE,
            f"a sustained run in {', '.join(others)} shows no throttling",
            "--sustain",
            f"Choose the scenarios: --scenario {','.join(SCENARIOS)}",
        )


def timeout_s(profile_s: float, sustain_s: float) -> float:
    """Return the time limit of an attempt, from that of its profile."""
    return max(profile_s, sustain_s * _SLOWER + _PREPARING_S) if sustain_s else profile_s


def no_temperature_reason(device: Capabilities) -> str:
    """Return why the start of a run cannot depend on the temperature; empty if it can."""
    if any(sensor.kind == SOC_TEMPERATURE for sensor in device.sensors):
        return ""
    return "it has no trusted temperature sensor of the SoC, which --start-below needs"
