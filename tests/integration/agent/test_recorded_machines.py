"""Devices that were recorded by their owners: their files give the same facts today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import MACHINES
from tests.support.add_machine import EXPECTED, PROOF, TREE, facts

RECORDED = sorted(path.name for path in MACHINES.iterdir() if path.is_dir())


@pytest.mark.parametrize("name", RECORDED)
def test_the_facts_of_a_machine(name: str) -> None:
    folder = MACHINES / name
    assert facts(folder / TREE) == json.loads((folder / EXPECTED).read_bytes())
    assert (folder / PROOF).is_file()


def test_a_machine_is_complete_or_not_there() -> None:
    left = {path.name for path in MACHINES.iterdir() if not path.is_dir()}
    assert left == {"README.md"}
    assert all(Path(MACHINES / name / TREE).is_dir() for name in RECORDED)
