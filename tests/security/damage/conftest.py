"""Homes of real programs, to be damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.security.damage.programs import Homes
from tests.support.processes import fleet_in


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Homes:
    """Record homes of real programs."""
    folder = tmp_path_factory.mktemp("recorded") / "fleet"
    with fleet_in(folder) as fleet:
        fleet.start_controller()
        fleet.start_agent("bench1")
    (fleet.home / "config.toml").write_text("advertise = false\n")
    (folder / "bench1" / "config.toml").write_text("once_wait_s = 1.0\n")
    return Homes(fleet.home, folder / "bench1")


@pytest.fixture
def homes(recorded: Homes, tmp_path: Path) -> Homes:
    """Copy the homes, to damage them."""
    copies = Homes(tmp_path / "controller", tmp_path / "agent")
    shutil.copytree(recorded.controller, copies.controller, symlinks=True)
    shutil.copytree(recorded.agent, copies.agent, symlinks=True)
    return copies
