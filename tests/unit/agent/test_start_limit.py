"""A run that must start below a temperature waits for it, says so, and never starts above it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmark_agent.errors import Refusal
from fleetmark_agent.fingerprint import measure
from fleetmark_agent.runner.conditioning import stabilize
from fleetmark_agent.runner.conditioning.cooling import CooldownDecision
from fleetmark_agent.runner.conditioning.start_limit import StartDecision, StartLimit
from fleetmark_agent.runner.telemetry.temperature import LastingThermometer
from fleetmark_core.errors import FleetmarkError
from fleetmark_core.failure_cause import FailureCause
from fleetmark_core.order import Order, parse_order
from tests.support.device_tree import DeviceTree
from tests.unit.agent.test_stable_run import Clock

ORDER = Order(1, "d", "c", "j", 1, "0" * 64, 1, 1, "Offline", "performance", "quick", 5.0)


@given(st.floats(1, 125), st.floats(0, 1e5), st.floats(0, 2e5), st.none() | st.floats(-40, 125))
def test_a_run_starts_below_the_limit_only(
    below_c: float, wait_s: float, waited_s: float, hottest_c: float | None
) -> None:
    decision = StartLimit(below_c, wait_s).decide(waited_s, hottest_c)
    cool = hottest_c is not None and hottest_c < below_c
    assert (decision is StartDecision.START) == cool
    assert (decision is StartDecision.UNKNOWN) == (hottest_c is None)
    if waited_s >= wait_s:
        assert decision is not StartDecision.WAIT


def wait(
    device: DeviceTree,
    monkeypatch: pytest.MonkeyPatch,
    below_c: float,
    reports: list[tuple[int, int]],
    **zones: Callable[[float], float],
) -> stabilize.CooldownResult:
    clock = Clock(device, 1000.0, zones)
    monkeypatch.setattr(stabilize.time, "monotonic", clock.monotonic)
    monkeypatch.setattr(stabilize.asyncio, "sleep", clock.sleep)
    site: Any = SimpleNamespace(
        settings=SimpleNamespace(system_root=str(device.root), start_wait_s=600.0),
        thermometer=LastingThermometer(device.root),
    )
    waiting = stabilize.until_below(site, below_c, lambda done, most: reports.append((done, most)))
    with pytest.raises(StopIteration) as end:
        waiting.send(None)
    found = end.value.value
    assert isinstance(found, stabilize.CooldownResult)
    return found


def test_it_waits_for_the_hottest_trusted_sensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[tuple[int, int]] = []
    zones = {
        "cpu-thermal": lambda at_s: 60.0 - at_s / 10,
        "gpu-thermal": lambda at_s: 40.0 - at_s / 20,
        "PMIC-Die": lambda _: 100.0,
    }
    found = wait(DeviceTree(tmp_path), monkeypatch, 40.0, reports, **zones)
    assert found.why is CooldownDecision.BELOW
    assert (found.first_c, found.seconds) == (60.0, 202.0)
    assert found.last_c is not None and found.last_c < 40
    assert reports[0] == (0, 600) and reports[-1] == (200, 600)


def test_a_device_that_stays_warm_gets_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refusal) as refused:
        wait(DeviceTree(tmp_path), monkeypatch, 40.0, [], **{"cpu-thermal": lambda _: 47.0})
    assert (refused.value.retryable, refused.value.cause) == (True, FailureCause.JOB)
    assert refused.value.reason.startswith(
        "it must start below 40 °C, but the hottest trusted sensor was at 47.0 °C after 600 s"
    )


def test_a_device_without_a_trusted_sensor_gets_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Refusal) as refused:
        wait(DeviceTree(tmp_path), monkeypatch, 40.0, [], **{"PMIC-Die": lambda _: 30.0})
    assert (refused.value.retryable, refused.value.cause) == (False, FailureCause.JOB)
    assert "no trusted temperature sensor" in refused.value.reason


def test_trusted_sensors_are_among_the_capabilities(tmp_path: Path) -> None:
    device = DeviceTree(tmp_path)
    device.temperature(45)
    device.put("sys/class/thermal/thermal_zone1/type", "PMIC-Die")
    device.put("sys/class/thermal/thermal_zone1/temp", 100_000)
    found = [s for s in measure(tmp_path, tmp_path).sensors if s.kind == "soc-temperature"]
    assert [(s.name, s.source) for s in found] == [
        ("cpu-thermal", "/sys/class/thermal/thermal_zone0/temp")
    ]
    # The condition of a run may be read below another folder than the rest.
    elsewhere = measure(tmp_path / "empty", tmp_path, system_root=tmp_path).sensors
    assert list(elsewhere) == found


def test_an_order_has_the_limit_only_if_there_is_one() -> None:
    assert b"start_below_c" not in ORDER.canonical()
    limited = replace(ORDER, start_below_c=40.0)
    assert parse_order(limited.canonical()) == limited
    for wrong in (-1.0, 126.0):
        with pytest.raises(FleetmarkError, match="start temperature"):
            parse_order(replace(ORDER, start_below_c=wrong).canonical())
