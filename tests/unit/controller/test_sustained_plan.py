"""What a sustained run and a start temperature mean for the jobs of a campaign."""

from __future__ import annotations

import dataclasses
from typing import Any

import click
import pytest

from fleetmark_catalog.load import load_catalog
from fleetmark_controller.cli import options
from fleetmark_controller.planning.campaign_plan import CampaignPlan
from fleetmark_controller.planning.campaign_request import CampaignRequest
from fleetmark_controller.planning.device import Device
from fleetmark_controller.planning.plan import make_plan
from fleetmark_core.capabilities import Capabilities, Memory, Sensor, Storage
from fleetmark_core.errors import ErrorKind, FleetmarkError
from tests.support.sample_devices import HARNESS

CATALOG = load_catalog()
TRUSTED = Sensor("soc-temperature", "cpu-thermal", "/sys/class/thermal/thermal_zone0/temp")
ANY = Sensor("temperature", "acpitz", "/sys/class/thermal/thermal_zone1/temp")


def device(name: str, facts: Capabilities, *sensors: Sensor) -> Device:
    facts = dataclasses.replace(
        facts,
        memory=Memory(64_000_000_000, 0),
        storage=Storage(32_000_000_000, 30_000_000_000),
        sensors=sensors,
    )
    return Device(name, name, {}, facts, "0.1.0", "boot", "", "")


def plan(*devices: Device, **more: Any) -> CampaignPlan:
    return make_plan(CATALOG, CampaignRequest("c", "fashion-mnist", **more), devices, HARNESS, 0)


def test_a_sustained_run_lasts_as_long_as_asked(x86_device: Capabilities) -> None:
    found = plan(device("one", x86_device), sustain_s=1800.0)
    assert found.jobs
    for planned in found.jobs:
        configuration = planned.job.configuration
        assert configuration["mode"] == "performance" and configuration["sustained"] is True
        assert configuration["parameters"]["min_duration_s"] == 1800.0
        assert planned.job.timeout_s >= 1800 * 1.2
        assert (planned.job.expected_s or 0) > 1800
    plain = plan(device("one", x86_device), modes=("performance",))
    assert all("sustained" not in planned.job.configuration for planned in plain.jobs)
    keys = {planned.job.configuration_key for planned in found.jobs}
    assert not keys & {planned.job.configuration_key for planned in plain.jobs}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"modes": ("accuracy",)}, "Omit --mode"),
        ({"parameters": {"min_duration_s": ("5",)}}, "Omit --param min_duration_s"),
        ({"scenarios": ("Server",)}, "Omit Server from --scenario"),
        ({"timeout_s": 60.0}, "the time limit of 60 s ends a run of 1800 s"),
        ({"sustain_s": 90_000.0}, "min_duration_s"),
    ],
)
def test_what_contradicts_it_is_refused(
    x86_device: Capabilities, more: dict[str, Any], words: str
) -> None:
    with pytest.raises(FleetmarkError) as refused:
        plan(device("one", x86_device), **{"sustain_s": 1800.0, **more})
    assert words in f"{refused.value} {refused.value.next_step}"


def test_a_device_without_a_trusted_temperature_is_left_out(x86_device: Capabilities) -> None:
    devices = (device("one", x86_device, TRUSTED), device("two", x86_device, ANY))
    found = plan(*devices, start_below_c=40.0)
    assert {planned.device for planned in found.jobs} == {"one"}
    assert all(planned.job.configuration["start_below_c"] == 40.0 for planned in found.jobs)
    ((name, reason),) = found.left_out
    assert (name, reason) == (
        "two",
        "it has no trusted temperature sensor of the SoC, which --start-below needs",
    )
    with pytest.raises(FleetmarkError) as refused:
        plan(devices[1], start_below_c=40.0)
    assert refused.value.kind is ErrorKind.NOTHING_FITS
    assert {planned.device for planned in plan(*devices).jobs} == {"one", "two"}


@pytest.mark.parametrize(
    ("text", "celsius"), [("40C", 40.0), ("40", 40.0), ("37.5°C", 37.5), ("40 °c", 40.0)]
)
def test_a_temperature_is_read(text: str, celsius: float) -> None:
    assert options.CELSIUS.convert(text, None, None) == celsius


@pytest.mark.parametrize("text", ["", "0C", "126C", "40F", "-5C", "warm", "40K", "1e2"])
def test_another_text_is_no_temperature(text: str) -> None:
    with pytest.raises(click.UsageError):
        options.CELSIUS.convert(text, None, None)
