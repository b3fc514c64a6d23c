"""Emulated arm64 devices and a real x86_64 one at a real controller.

Without an aarch64 userland these tests fail with the reason; they are selected explicitly.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.arm64.emulated import EmulatedFleet
from tests.arm64.userland import CannotBeMade, Userland, userland


@pytest.fixture(scope="session")
def devices() -> Userland:
    """The userland, made once; the tests fail where it cannot be."""
    try:
        return userland()
    except CannotBeMade as reason:
        pytest.fail(f"there is no aarch64 userland on this machine: {reason}", pytrace=False)


@pytest.fixture(scope="session")
def fleet(devices: Userland, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedFleet]:
    """A controller with two arm64 devices and one x86_64 device."""
    made = EmulatedFleet(tmp_path_factory.mktemp("fleet"), devices)
    try:
        made.start_controller("--catalog", str(Path(__file__).with_name("catalog")))
        made.start_device("arm-1")
        made.start_device("arm-2")
        made.start_agent("desk")
        made.wait_for("arm-1", "arm-2")
        yield made
    finally:
        made.stop()
        made.keep_builds()


@pytest.fixture(scope="session")
def with_loadgen(fleet: EmulatedFleet) -> EmulatedFleet:
    """The same, with the LoadGen that an earlier run built, if one did."""
    fleet.seed_builds()
    return fleet
